# One file per instruction set; everything else is built for the distribution's baseline.
