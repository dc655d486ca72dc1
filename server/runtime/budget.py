"""One budget of cores for the whole process: whatever computes takes its cores from here first."""


class CoreBudget:
    """Counts cores; used on one thread."""

    def __init__(self, cores: int) -> None:
        if cores < 1:
            raise ValueError(f"{cores} cores; at least one run must be possible")
        self.cores = cores
        self.free = cores

    @property
    def taken(self) -> int:
        """Cores that compute now."""
        return self.cores - self.free

    def take(self, cores: int) -> bool:
        """Takes so many cores; False, and nothing taken, where they are not free.

        Raises ValueError for more cores than there are: they would never be free.
        """
        if not 1 <= cores <= self.cores:
            raise ValueError(f"a run of {cores} cores does not fit into a budget of {self.cores}")
        if cores > self.free:
            return False
        self.free -= cores
        return True

    def give_back(self, cores: int) -> None:
        """Returns cores. Raises ValueError where more come back than were taken."""
        if cores > self.taken:
            raise ValueError(f"{cores} cores given back, {self.taken} were taken")
        self.free += cores
