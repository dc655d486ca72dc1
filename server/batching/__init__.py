"""Admission, queue, policy, collate, scheduler: how requests become batches and batches become replies."""
