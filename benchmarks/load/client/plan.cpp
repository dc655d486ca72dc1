#include "plan.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

namespace {

constexpr char kMagic[] = "ATTLOAD1";

class Reader {
 public:
  explicit Reader(std::string content) : content_(std::move(content)) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }

  std::string text() {
    const auto size = number<std::uint32_t>();
    return std::string(take(size), size);
  }

  bool starts_with(const char* magic, std::size_t size) { return std::memcmp(take(size), magic, size) == 0; }

 private:
  const char* take(std::size_t size) {
    if (content_.size() - at_ < size) {
      std::fprintf(stderr, "the plan ends too early\n");
      std::exit(2);
    }
    const char* start = content_.data() + at_;
    at_ += size;
    return start;
  }

  std::string content_;
  std::size_t at_ = 0;
};

}  // namespace

Plan read_plan(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path);
    std::exit(2);
  }
  Reader reader(std::string(std::istreambuf_iterator<char>(file), {}));
  if (!reader.starts_with(kMagic, sizeof(kMagic) - 1)) {
    std::fprintf(stderr, "%s is not a plan of this client\n", path);
    std::exit(2);
  }
  Plan plan;
  plan.protocol = static_cast<Protocol>(reader.number<std::uint32_t>());
  plan.port = reader.number<std::uint32_t>();
  plan.connections = reader.number<std::uint32_t>();
  plan.in_flight = reader.number<std::uint32_t>();
  plan.duration_s = reader.number<double>();
  plan.timeout_s = reader.number<double>();
  plan.path = reader.text();
  for (auto left = reader.number<std::uint32_t>(); left > 0; --left) {
    std::string name = reader.text();
    plan.headers.emplace_back(std::move(name), reader.text());
  }
  for (auto left = reader.number<std::uint32_t>(); left > 0; --left) plan.requests.push_back(reader.text());
  for (auto left = reader.number<std::uint32_t>(); left > 0; --left) {
    const auto request = reader.number<std::uint32_t>();
    plan.sends.push_back({request, reader.number<double>()});
    if (request >= plan.requests.size()) {
      std::fprintf(stderr, "the plan sends request %u of %zu\n", request, plan.requests.size());
      std::exit(2);
    }
  }
  return plan;
}
