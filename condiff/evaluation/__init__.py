"""How good generated images are, judged against real ones without any downloaded weights."""
