"""What N workers buy: `sweep` measures and explains it, `tuning` betters it, `prediction` says it of what is not here.

All three rest on trials: short launches whose workers run `worker/` and send back what they measured.
"""
