"""The worlds a rank can live in, behind one interface: alone, simulated, MPI's."""
