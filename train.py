"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

from condiff.commands.scripts import train as main

if __name__ == "__main__":
    main()
