// HTTP/1.1: one call at a time on a connection that is kept alive.
#include <strings.h>

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "connection.hpp"

namespace {

constexpr std::string_view kLineEnd = "\r\n";

class Http1Connection final : public Connection {
 public:
  Http1Connection(const Plan& plan, Answered answered) : Connection(plan.port, std::move(answered)) {}

  bool free() const override { return open() && !call_; }

  void begin(std::uint32_t call, const std::string& request) override {
    call_ = call;
    send(request.data(), request.size());
  }

  void abandon(std::uint32_t) override {
    call_.reset();
    close();  // The late answer would be taken for the next call's.
  }

 private:
  void received(const char* bytes, std::size_t size) override {
    incoming_.append(bytes, size);
    if (!parse()) return;
    if (!keep_alive_) close();
  }

  void lost() override {
    if (!call_) return;
    const auto call = *call_;
    call_.reset();
    // An answer without a length ends with its connection.
    if (until_closed_) {
      answered_({call, status_ / 100 == 2 ? Outcome::kAnswered : Outcome::kRefused, status_, incoming_.substr(body_)});
    } else {
      answered_({call, Outcome::kDisconnected, 0, {}});
    }
  }

  // Takes one whole response off the incoming bytes; false where it is not all there yet.
  bool parse() {
    if (body_ == 0 && !parse_head()) return false;
    std::string body;
    if (chunked_) {
      if (!parse_chunks(body)) return false;
    } else if (length_) {
      if (incoming_.size() < body_ + *length_) return false;
      body = incoming_.substr(body_, *length_);
      incoming_.erase(0, body_ + *length_);
    } else {
      until_closed_ = true;
      return false;
    }
    body_ = 0;
    if (call_) {
      const auto call = *call_;
      call_.reset();
      const auto outcome = status_ / 100 == 2 ? Outcome::kAnswered : Outcome::kRefused;
      answered_({call, outcome, status_, std::move(body)});
    }
    return true;
  }

  bool parse_head() {
    const auto end = incoming_.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    std::string_view head(incoming_.data(), end);
    status_ = head.size() >= 12 ? static_cast<std::uint32_t>(std::atoi(head.data() + 9)) : 0;
    length_.reset();
    chunked_ = false;
    keep_alive_ = true;
    for (auto line_end = head.find(kLineEnd); line_end != std::string_view::npos; line_end = head.find(kLineEnd)) {
      head.remove_prefix(line_end + kLineEnd.size());
      take_header(head.substr(0, head.find(kLineEnd)));
    }
    body_ = end + 4;
    return true;
  }

  void take_header(std::string_view line) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return;
    const auto name = line.substr(0, colon);
    auto value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (is(name, "content-length")) {
      std::size_t length = 0;
      std::from_chars(value.data(), value.data() + value.size(), length);
      length_ = length;
    } else if (is(name, "transfer-encoding")) {
      chunked_ = is(value, "chunked");
    } else if (is(name, "connection")) {
      keep_alive_ = !is(value, "close");
    }
  }

  static bool is(std::string_view text, std::string_view expected) {
    return text.size() == expected.size() && ::strncasecmp(text.data(), expected.data(), text.size()) == 0;
  }

  // Joins the chunks of a body; false where the last one has not come.
  bool parse_chunks(std::string& body) {
    auto at = body_;
    while (true) {
      const auto line_end = incoming_.find(kLineEnd, at);
      if (line_end == std::string::npos) return false;
      std::size_t size = 0;
      std::from_chars(incoming_.data() + at, incoming_.data() + line_end, size, 16);
      const auto start = line_end + kLineEnd.size();
      if (incoming_.size() < start + size + kLineEnd.size()) return false;
      body.append(incoming_, start, size);
      at = start + size + kLineEnd.size();
      if (size == 0) break;
    }
    incoming_.erase(0, at);
    return true;
  }

  std::optional<std::uint32_t> call_;
  std::string incoming_;
  std::size_t body_ = 0;  // Where the body starts in the incoming bytes; 0: the head is not read yet.
  std::uint32_t status_ = 0;
  std::optional<std::size_t> length_;
  bool chunked_ = false;
  bool keep_alive_ = true;
  bool until_closed_ = false;
};

}  // namespace

std::unique_ptr<Connection> http1_connection(const Plan& plan, Answered answered) {
  return std::make_unique<Http1Connection>(plan, std::move(answered));
}
