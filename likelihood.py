"""How probable real images are to a checkpoint, in bits per dimension: python likelihood.py [ckpt=…] [num_images=…] [steps=…]."""

from condiff.commands.likelihood import main

if __name__ == "__main__":
    main()
