"""Draw images from a checkpoint: python sample.py [ckpt=…] [contrast=…] [num_samples=…] [sampler=…] [steps=…] [out=DIR]."""

from condiff.commands.scripts import sample as main

if __name__ == "__main__":
    main()
