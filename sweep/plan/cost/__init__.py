"""What a plan will cost, before it runs. `estimate` is the door, `measure` takes speeds on the hardware at hand."""
