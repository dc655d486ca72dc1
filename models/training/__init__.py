"""The trainer: data in, a checkpoint folder with its measured quality out."""
