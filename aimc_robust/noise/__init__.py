"""Weight noise: a named weight tensor becomes a perturbed one."""
