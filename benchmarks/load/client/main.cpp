// A load generator of one thread: sends what a plan says, when it says, and writes down how every call ended.
//
//     client PLAN RECORDS
//
// It judges nothing: answers are kept as they came and are checked afterwards, so that what is measured shares its cores
// with as little as can be. The times of a call are seconds after the start, which is told on the system's monotonic
// clock. In an open loop a call that leaves late keeps the time at which it was meant to leave.
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <unordered_set>
#include <vector>

#include "clock.hpp"
#include "connection.hpp"
#include "plan.hpp"

namespace {

constexpr char kMagic[] = "ATTRECS2";
constexpr double kLookForTimeoutsEvery = 0.05;

struct Call {
  std::uint32_t request;
  double intended_s;
  double sent_s = NAN;
  double done_s = NAN;
  Outcome outcome = Outcome::kTimedOut;
  std::uint32_t status = 0;
  std::string body{};
  std::vector<double> arrived{};
  Connection* connection = nullptr;
};

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

class Load {
 public:
  explicit Load(Plan plan)
      : plan_(std::move(plan)), events_(epoll_create1(0)), timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) {
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(events_, EPOLL_CTL_ADD, timer_, &event);  // The timer has no connection: data.ptr is null.
  }

  ~Load() {
    connections_.clear();
    ::close(timer_);
    ::close(events_);
  }

  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void run() {
    // A channel is open before its first call; HTTP/1.1 opens connections as it needs them.
    if (plan_.protocol != Protocol::kHttp1) {
      for (std::uint32_t i = 0; i < plan_.connections; ++i) connect()->flush();
    }
    cpu_s_ = cpu_seconds();
    start_s_ = monotonic();
    while (true) {
      const double now = elapsed();
      schedule(now);
      give_up(now);
      dispatch();
      if (finished(now)) break;
      wait(now);
    }
    end_s_ = elapsed();
    cpu_s_ = cpu_seconds() - cpu_s_;
  }

  bool write(const char* path) const {
    std::ofstream file(path, std::ios::binary);
    file.write(kMagic, sizeof(kMagic) - 1);
    put(file, static_cast<std::uint64_t>(calls_.size()));
    for (const double number : {start_s_, end_s_, cpu_s_}) put(file, number);
    for (const auto& call : calls_) {
      put(file, call.request);
      put(file, static_cast<std::uint32_t>(call.outcome));
      put(file, call.status);
      put(file, static_cast<std::uint32_t>(call.body.size()));
      put(file, static_cast<std::uint64_t>(call.arrived.size()));
      for (const double time : {call.intended_s, call.sent_s, call.done_s}) put(file, time);
    }
    for (const auto& call : calls_) {
      for (const double time : call.arrived) put(file, time);
    }
    for (const auto& call : calls_) file << call.body;
    return static_cast<bool>(file.flush());
  }

 private:
  template <typename T>
  static void put(std::ofstream& file, T value) {
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  double elapsed() const { return monotonic() - start_s_; }

  bool open_loop() const { return plan_.in_flight == 0; }

  // Makes the calls that are due.
  void schedule(double now) {
    if (open_loop()) {
      while (next_ < plan_.sends.size() && plan_.sends[next_].at_s <= now) make(plan_.sends[next_].at_s);
    } else if (now < plan_.duration_s) {
      while (unfinished_.size() < plan_.in_flight) make(now);
    }
  }

  void make(double intended_s) {
    const auto call = static_cast<std::uint32_t>(calls_.size());
    calls_.push_back({plan_.sends[next_ % plan_.sends.size()].request, intended_s});
    ++next_;
    unfinished_.insert(call);
    waiting_.push_back(call);
  }

  // Puts waiting calls on connections that are free; the rest wait for one, and their time runs.
  void dispatch() {
    while (!waiting_.empty()) {
      Connection* connection = find_free();
      if (connection == nullptr) break;
      const auto id = waiting_.front();
      waiting_.pop_front();
      Call& call = calls_[id];
      call.sent_s = elapsed();
      call.connection = connection;
      connection->begin(id, plan_.requests[call.request]);
      if (plan_.protocol == Protocol::kHttp1) connection->flush();
    }
    std::erase_if(connections_, [this](const auto& connection) {
      return !connection->open() && (writing_.erase(connection.get()), true);
    });
    for (const auto& connection : connections_) {
      connection->flush();
      watch(*connection);
    }
  }

  Connection* find_free() {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      Connection* connection = connections_[turn_++ % connections_.size()].get();
      if (connection->free()) return connection;
    }
    const auto open = std::count_if(connections_.begin(), connections_.end(), [](const auto& it) { return it->open(); });
    return open < static_cast<std::ptrdiff_t>(plan_.connections) ? connect() : nullptr;
  }

  Connection* connect() {
    const auto make = plan_.protocol == Protocol::kHttp1 ? http1_connection : grpc_connection;
    connections_.push_back(make(plan_, [this](Answer answer) { take(std::move(answer)); }));
    Connection* connection = connections_.back().get();
    if (!connection->open()) {
      std::fprintf(stderr, "cannot connect to 127.0.0.1:%u\n", plan_.port);
      std::exit(3);
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connection;
    epoll_ctl(events_, EPOLL_CTL_ADD, connection->descriptor(), &event);
    return connection;
  }

  // Asks to be told when a connection takes more, only while something waits to be written.
  void watch(Connection& connection) {
    if (!connection.open() || connection.wants_to_write() == (writing_.count(&connection) != 0)) return;
    epoll_event event{};
    event.events = EPOLLIN;
    if (connection.wants_to_write()) {
      event.events |= EPOLLOUT;
      writing_.insert(&connection);
    } else {
      writing_.erase(&connection);
    }
    event.data.ptr = &connection;
    epoll_ctl(events_, EPOLL_CTL_MOD, connection.descriptor(), &event);
  }

  void take(Answer answer) {
    if (unfinished_.erase(answer.call) == 0) return;  // Given up before.
    Call& call = calls_[answer.call];
    call.done_s = elapsed();
    call.outcome = answer.outcome;
    call.status = answer.status;
    call.body = std::move(answer.body);
    call.arrived = std::move(answer.arrived);
    for (double& time : call.arrived) time -= start_s_;
    call.connection = nullptr;
  }

  // Gives up the calls without an answer in time; a call's time runs from when it was meant to leave.
  void give_up(double now) {
    if (now < look_for_timeouts_s_) return;
    look_for_timeouts_s_ = now + kLookForTimeoutsEvery;
    std::vector<std::uint32_t> late;
    for (const auto id : unfinished_) {
      if (now - calls_[id].intended_s > plan_.timeout_s) late.push_back(id);
    }
    for (const auto id : late) {
      unfinished_.erase(id);
      Call& call = calls_[id];
      call.done_s = now;
      if (call.connection != nullptr) {
        call.connection->abandon(id);
      } else {
        waiting_.erase(std::find(waiting_.begin(), waiting_.end(), id));
      }
      call.connection = nullptr;
    }
  }

  bool finished(double now) const {
    const bool all_made = open_loop() ? next_ >= plan_.sends.size() : now >= plan_.duration_s;
    return all_made && unfinished_.empty();
  }

  void wait(double now) {
    double until = look_for_timeouts_s_;
    if (open_loop() && next_ < plan_.sends.size()) until = std::min(until, plan_.sends[next_].at_s);
    const double left = std::max(until - now, 1e-9);  // Zero would disarm the timer.
    itimerspec at{};
    at.it_value.tv_sec = static_cast<time_t>(left);
    at.it_value.tv_nsec = std::max(1L, static_cast<long>((left - std::floor(left)) * 1e9));
    timerfd_settime(timer_, 0, &at, nullptr);
    epoll_event events[64];
    const int count = epoll_wait(events_, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection != nullptr) connection->readable();
    }
  }

  Plan plan_;
  int events_;
  int timer_;
  double start_s_ = 0;
  double end_s_ = 0;
  double cpu_s_ = 0;
  double look_for_timeouts_s_ = 0;
  std::size_t next_ = 0;
  std::size_t turn_ = 0;
  std::deque<Call> calls_;
  std::deque<std::uint32_t> waiting_;
  std::unordered_set<std::uint32_t> unfinished_;
  std::unordered_set<const Connection*> writing_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s PLAN RECORDS\n", argv[0]);
    return 2;
  }
  Load load(read_plan(argv[1]));
  load.run();
  if (!load.write(argv[2])) {
    std::fprintf(stderr, "cannot write %s\n", argv[2]);
    return 1;
  }
  return 0;
}
