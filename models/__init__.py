"""Training and publishing: data -> network -> checkpoint -> export -> verify -> publish."""
