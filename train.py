"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

from condiff.commands.train import main

if __name__ == "__main__":
    main()
