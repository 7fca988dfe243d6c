"""The autoencoder as a codec, and the networks that judge it."""

import pytest
import torch

from condiff.errors import InputError
from condiff.nn import KLAutoencoder, PatchDiscriminator, PerceptualDistance, Pixels


def autoencoder(image_channels=1, channels=(8, 16), latent_channels=3, patch=2):
    torch.manual_seed(0)
    net = KLAutoencoder(image_channels, latent_channels, channels, blocks=1, patch=patch)
    for parameter in net.parameters():  # branches begin at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net.eval()


@pytest.mark.parametrize(("channels", "f"), [((8, 16), 4), ((8, 8, 16), 8)])
@pytest.mark.parametrize("image_channels", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (29, 43), (5, 64)])
def test_any_size_and_number_of_channels(channels, f, image_channels, size):
    """The code is f times smaller, rounded up; the way back gives the size; both are finite; neighbours do not matter."""
    net, images = autoencoder(image_channels, channels), torch.randn(2, image_channels, *size)
    z = net.encode(images)
    assert net.size_multiple == f
    assert z.shape[1:] == net.shape(images.shape[1:]) == (3, -(-size[0] // f), -(-size[1] // f))
    again = net.decode(z, size)
    assert again.shape == images.shape and again.isfinite().all()
    torch.testing.assert_close(net.decode(net.encode(images[:1]), size), again[:1], rtol=1e-4, atol=1e-5)


def test_standardised_codes_have_mean_0_and_variance_1():
    """And decode to the same images: the codec's own units are its own affair. A second time changes nothing."""
    net, images = autoencoder(), torch.randn(16, 1, 32, 32) * 2 + 1
    before = net.decode(net.encode(images), (32, 32))
    for _ in range(2):
        z = net.encode(images)
        net.standardize(z.mean(dim=(0, 2, 3)), z.var(dim=(0, 2, 3), correction=0))
        z = net.encode(images)
        torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
        torch.testing.assert_close(z.var(dim=(0, 2, 3), correction=0), torch.ones(3), rtol=1e-3, atol=0)
        torch.testing.assert_close(net.decode(z, (32, 32)), before, rtol=1e-3, atol=1e-4)
    other = autoencoder()
    other.load_state_dict(net.state_dict())  # the scale travels with the weights
    torch.testing.assert_close(other.encode(images), z)


def test_a_channel_that_says_nothing():
    with pytest.raises(InputError, match=r"channels \[1\] hardly vary; .* lower weight of the KL"):
        autoencoder().standardize(torch.zeros(3), torch.tensor([1.0, -1e-17, 0.5]))


def test_one_code_of_the_whole_image_is_refused():
    """A forged checkpoint could ask for 2^255 pixels of padding with a handful of weights."""
    with pytest.raises(InputError, match="^channels=.*, patch=2: one code would cover 1048576 x 1048576"):
        KLAutoencoder(1, channels=(8,) * 20)


def test_it_can_learn_the_identity():
    """Eight images by heart: the way there and back loses little where the code is as large as the image."""
    torch.manual_seed(0)
    net, images = (
        KLAutoencoder(1, 16, (16, 32), blocks=1),
        torch.randn(8, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (net.decode_unscaled(net.moments(images)[0], (16, 16)) - images).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * images.square().mean()


def test_pixels_are_their_own_code():
    images = torch.randn(2, 1, 8, 8)
    assert Pixels().encode(images) is images and Pixels().decode(images, (8, 8)) is images
    assert Pixels().shape((1, 8, 8)) == (1, 8, 8)


def test_random_features_are_a_distance():
    """Zero of an image to itself, symmetric, the same from every instance, the larger the more noise; nothing to store."""
    one, noise = torch.randn(3, 1, 32, 32), torch.randn(3, 1, 32, 32)
    distance = PerceptualDistance(1)
    assert torch.equal(distance(one, one), torch.zeros(3))
    torch.testing.assert_close(distance(one, noise), distance(noise, one))
    torch.testing.assert_close(PerceptualDistance(1)(one, noise), distance(one, noise))
    assert not torch.allclose(PerceptualDistance(1, seed=1)(one, noise), distance(one, noise))
    far = torch.stack([distance(one, one + level * noise) for level in (0.01, 0.1, 1.0)])
    assert (far.diff(dim=0) > 0).all() and far.shape == (3, 3)
    assert not distance.state_dict() and not [*distance.parameters()]


def test_the_discriminator_sees_patches():
    """A pixel changes the opinion of what lies around it, and none far away (but for the norms' statistics)."""
    critic = PatchDiscriminator(1, (8, 16)).double()
    for module in critic.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x
    image = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    other = image.clone()
    other[..., 0, 0] = 1
    moved = (critic(image) - critic(other)).abs()[0, 0]
    assert moved.shape == (16, 16) and moved[0, 0] > 0
    assert moved[4:].max() == moved[:, 4:].max() == 0
