// gRPC: calls as HTTP/2 streams of one connection, by nghttp2.
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "clock.hpp"
#include "connection.hpp"

namespace {

constexpr std::int32_t kWindow = (1U << 31) - 1;  // Answers are never held back for want of room.
constexpr std::uint32_t kUnset = UINT32_MAX;
constexpr std::uint32_t kAbandoned = UINT32_MAX;  // In place of a call's number: nobody waits for it.

struct Stream {
  std::uint32_t call;
  const std::string* request;
  std::size_t sent = 0;
  std::uint32_t http_status = 0;
  std::uint32_t grpc_status = kUnset;
  std::string body{};
  std::size_t noted = 0;  // The end of the messages whose arrival is noted.
  std::vector<double> arrived{};
};

constexpr std::size_t kPrefix = 5;  // Before each message: whether it is compressed, and its size.

// The end of the message that begins at `at`: beyond the body's own where it is not whole, 0 where it is compressed.
std::size_t message_end(const std::string& body, std::size_t at) {
  if (body.size() - at < kPrefix) return body.size() + 1;
  if (body[at] != 0) return 0;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kPrefix; ++i) size = size << 8 | static_cast<std::uint8_t>(body[at + i]);
  return at + kPrefix + size;
}

nghttp2_nv header(const std::string& name, const std::string& value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

class GrpcConnection final : public Connection {
 public:
  GrpcConnection(const Plan& plan, Answered answered) : Connection(plan.port, std::move(answered)), plan_(plan) {
    fields_ = {{":method", "POST"},
               {":scheme", "http"},
               {":path", plan.path},
               {":authority", "127.0.0.1:" + std::to_string(plan.port)},
               {"te", "trailers"},
               {"content-type", "application/grpc"}};
    fields_.insert(fields_.end(), plan.headers.begin(), plan.headers.end());
    for (const auto& [name, value] : fields_) headers_.push_back(header(name, value));
    start();
  }

  ~GrpcConnection() override { nghttp2_session_del(session_); }

  bool free() const override { return open() && nghttp2_session_check_request_allowed(session_) != 0; }

  void begin(std::uint32_t call, const std::string& request) override {
    nghttp2_data_provider provider{};
    provider.read_callback = read_request;
    auto stream = std::make_unique<Stream>(Stream{call, &request});
    provider.source.ptr = stream.get();
    const auto id = nghttp2_submit_request(session_, nullptr, headers_.data(), headers_.size(), &provider, nullptr);
    if (id < 0) {
      answered_({call, Outcome::kDisconnected, 0, {}});
      return;
    }
    streams_.emplace(id, std::move(stream));
  }

  void abandon(std::uint32_t call) override {
    for (const auto& [id, stream] : streams_) {
      if (stream->call != call) continue;
      // It stays until nghttp2 closes it, which may still read from it.
      stream->call = kAbandoned;
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
      return;
    }
  }

 private:
  void start() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindow},
                                               {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
  }

  void received(const char* bytes, std::size_t size) override {
    if (nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes), size) < 0) close();
  }

  void collect() override {
    const std::uint8_t* bytes = nullptr;
    for (ssize_t size; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      send(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
  }

  void lost() override {
    auto streams = std::move(streams_);
    streams_.clear();
    for (const auto& entry : streams) answered_({entry.second->call, Outcome::kDisconnected, 0, {}});
  }

  void finish(std::int32_t id, std::uint32_t error) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    const auto stream = std::move(found->second);
    streams_.erase(found);
    if (stream->call == kAbandoned) return;
    auto outcome = Outcome::kAnswered;
    if (stream->grpc_status == kUnset) {
      outcome = error == NGHTTP2_NO_ERROR ? Outcome::kMalformed : Outcome::kDisconnected;
    } else if (stream->grpc_status != 0) {
      outcome = Outcome::kRefused;
    } else if (!(plan_.protocol == Protocol::kGrpcStream ? whole(*stream) : unframe(stream->body))) {
      outcome = Outcome::kMalformed;
    }
    const auto status = stream->grpc_status == kUnset ? stream->http_status : stream->grpc_status;
    answered_({stream->call, outcome, status, std::move(stream->body), std::move(stream->arrived)});
  }

  static void note(Stream& stream) {
    while (true) {
      const auto end = message_end(stream.body, stream.noted);
      if (end == 0 || end > stream.body.size()) return;
      stream.arrived.push_back(monotonic());
      stream.noted = end;
    }
  }

  // Takes the five bytes before the message off; false unless it is one uncompressed message.
  static bool unframe(std::string& body) {
    if (message_end(body, 0) != body.size()) return false;
    body.erase(0, kPrefix);
    return true;
  }

  // Whether it is messages alone, one at least, and all of them whole and uncompressed.
  static bool whole(const Stream& stream) {
    return !stream.arrived.empty() && stream.noted == stream.body.size();
  }

  static ssize_t read_request(nghttp2_session*, std::int32_t, std::uint8_t* buffer, std::size_t room,
                              std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto* stream = static_cast<Stream*>(source->ptr);
    const auto size = std::min(room, stream->request->size() - stream->sent);
    std::memcpy(buffer, stream->request->data() + stream->sent, size);
    stream->sent += size;
    if (stream->sent == stream->request->size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
    const auto& streams = static_cast<GrpcConnection*>(self)->streams_;
    const auto found = streams.find(frame->hd.stream_id);
    if (found == streams.end()) return 0;
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    if (key != ":status" && key != "grpc-status") return 0;
    const std::string text(reinterpret_cast<const char*>(value), value_size);
    auto& status = key == ":status" ? found->second->http_status : found->second->grpc_status;
    status = static_cast<std::uint32_t>(std::atoi(text.c_str()));
    return 0;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size,
                     void* self) {
    const auto& streams = static_cast<GrpcConnection*>(self)->streams_;
    const auto found = streams.find(id);
    if (found == streams.end()) return 0;
    Stream& stream = *found->second;
    stream.body.append(reinterpret_cast<const char*>(bytes), size);
    if (static_cast<GrpcConnection*>(self)->plan_.protocol == Protocol::kGrpcStream) note(stream);
    return 0;
  }

  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t error, void* self) {
    static_cast<GrpcConnection*>(self)->finish(id, error);
    return 0;
  }

  const Plan& plan_;
  nghttp2_session* session_ = nullptr;
  std::vector<std::pair<std::string, std::string>> fields_;
  std::vector<nghttp2_nv> headers_;
  std::unordered_map<std::int32_t, std::unique_ptr<Stream>> streams_;
};

}  // namespace

std::unique_ptr<Connection> grpc_connection(const Plan& plan, Answered answered) {
  return std::make_unique<GrpcConnection>(plan, std::move(answered));
}
