"""Average a run's weights over another length, afterwards: python ema.py [ckpt=…] std=0.05 [step=…]; -m std=0.05,0.1,0.15."""

from condiff.commands.scripts import ema as main

if __name__ == "__main__":
    main()
