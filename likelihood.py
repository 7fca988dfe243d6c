"""How probable real images are to a checkpoint, in bits per dimension: python likelihood.py [ckpt=…] [num_images=…] [steps=…]."""

from condiff.commands.scripts import likelihood as main

if __name__ == "__main__":
    main()
