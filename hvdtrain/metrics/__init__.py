"""Records of a run and the arithmetic over them. Plain Python: no torch, nothing else of hvdtrain."""
