"""Operations on a running stack without a failed request: a new image, a lost replica, a version that is taken back.

Each module is a command, runs from the repository's folder, keeps calls going while it works, and exits with 1 if one
of them failed:

    python -m deploy.operations.roll attendant:next
    python -m deploy.operations.crash
    python -m deploy.operations.take_back digits
"""
