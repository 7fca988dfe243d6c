"""Say how good samples are: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

from condiff.commands.evaluate import main

if __name__ == "__main__":
    main()
