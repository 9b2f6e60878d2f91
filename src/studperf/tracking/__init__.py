"""W&B: a run told live or recorded for later, and its dashboards. The only room that imports wandb."""
