// The clock of all times that the client tells.
#pragma once

#include <ctime>

// Seconds on the system's monotonic clock.
inline double monotonic() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
