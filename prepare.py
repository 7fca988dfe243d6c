"""Make a data set ready, once: python prepare.py data.root=DIR [data.transform=complex] [data.shard=3/16] [verify=true]."""

from condiff.commands.scripts import prepare as main

if __name__ == "__main__":
    main()
