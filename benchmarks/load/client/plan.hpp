// What the client is told to do, read from the file that benchmarks/load/plan.py writes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// A call of kGrpc is answered with one message, one of kGrpcStream with any number of them.
enum class Protocol : std::uint32_t { kHttp1 = 1, kGrpc = 2, kGrpcStream = 3 };

// One entry of the schedule: which request, and in an open loop when it is meant to leave, in seconds after the start.
struct Send {
  std::uint32_t request;
  double at_s;
};

struct Plan {
  Protocol protocol;
  std::uint32_t port;
  std::uint32_t connections;  // HTTP/1.1: the most that are opened; gRPC: channels.
  std::uint32_t in_flight;    // Closed loop: calls at any time; 0: open loop.
  double duration_s;          // No call begins after this.
  double timeout_s;           // A call without an answer for so long is given up.
  std::string path;           // gRPC: the method.
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::string> requests;  // HTTP/1.1: whole requests with their headers; gRPC: framed messages.
  std::vector<Send> sends;            // Closed loop: taken in turn, over and over; open loop: once.
};

// Exits with a message where the file is not a plan.
Plan read_plan(const char* path);
