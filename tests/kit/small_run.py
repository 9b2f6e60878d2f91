"""The words of a run that takes a second: two epochs on 400 simulated rows, on the CPU, without plots."""

SMALL = (
    "data=simulated",
    "data.source.simulate.rows=400",
    "trainer=smoke",
    "trainer.accelerator=cpu",
    "progress=false",
    "threads=1",
    "plots=false",
)
