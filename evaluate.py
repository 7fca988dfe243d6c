"""Say how good samples are: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

from condiff.commands.scripts import evaluate as main

if __name__ == "__main__":
    main()
