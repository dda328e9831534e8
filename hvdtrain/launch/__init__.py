"""horovodrun command lines, hosts, and the supervision of a running job from its start to the last process gone."""
