// One connection to the server under test, whatever it speaks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan.hpp"

// How a call ended; the numbers stand in the file of records.
enum class Outcome : std::uint32_t { kAnswered = 0, kRefused = 1, kTimedOut = 2, kDisconnected = 3, kMalformed = 4 };

struct Answer {
  std::uint32_t call;
  Outcome outcome;
  std::uint32_t status;  // HTTP/1.1: its status; gRPC: the status code; 0 where there was none.
  std::string body;               // A stream's messages keep the five bytes before each.
  std::vector<double> arrived{};  // Streams: when each message was there, on the monotonic clock.
};

using Answered = std::function<void(Answer)>;

class Connection {
 public:
  virtual ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int descriptor() const { return descriptor_; }
  bool open() const { return descriptor_ >= 0; }
  bool wants_to_write() const { return written_ < outgoing_.size(); }

  // Whether another call may begin on it now.
  virtual bool free() const = 0;
  virtual void begin(std::uint32_t call, const std::string& request) = 0;
  // Gives a call up, without an answer.
  virtual void abandon(std::uint32_t call) = 0;
  // Reads all that has come; each finished call is told to `answered`.
  void readable();
  // Writes what waits, as far as the socket takes it.
  void flush();

 protected:
  Connection(std::uint32_t port, Answered answered);

  virtual void received(const char* bytes, std::size_t size) = 0;
  // Puts what the protocol has to say into the outgoing bytes.
  virtual void collect() {}
  // Tells every call of this connection that it is gone.
  virtual void lost() = 0;
  void send(const char* bytes, std::size_t size) { outgoing_.append(bytes, size); }
  void close();

  Answered answered_;

 private:
  int descriptor_ = -1;
  std::string outgoing_;
  std::size_t written_ = 0;
};

std::unique_ptr<Connection> http1_connection(const Plan& plan, Answered answered);
std::unique_ptr<Connection> grpc_connection(const Plan& plan, Answered answered);
