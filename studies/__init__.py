"""What distillation buys, asked of many runs. Each script can be stopped and goes on, and writes what is committed."""
