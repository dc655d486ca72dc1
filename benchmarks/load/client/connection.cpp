#include "connection.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

Connection::Connection(std::uint32_t port, Answered answered) : answered_(std::move(answered)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  // Blocking: over loopback this is one handshake in the kernel, and only before the first call of a connection.
  if (::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    ::close(descriptor);
    return;
  }
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  descriptor_ = descriptor;
}

Connection::~Connection() {
  if (open()) ::close(descriptor_);
}

void Connection::readable() {
  char buffer[1 << 16];
  while (open()) {
    const ssize_t size = ::recv(descriptor_, buffer, sizeof(buffer), 0);
    if (size > 0) {
      received(buffer, static_cast<std::size_t>(size));
      if (size < static_cast<ssize_t>(sizeof(buffer))) return;
    } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
      close();
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

void Connection::flush() {
  if (!open()) return;
  collect();
  while (open() && wants_to_write()) {
    const ssize_t size = ::send(descriptor_, outgoing_.data() + written_, outgoing_.size() - written_, MSG_NOSIGNAL);
    if (size >= 0) {
      written_ += static_cast<std::size_t>(size);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      close();
    }
  }
  outgoing_.clear();
  written_ = 0;
}

void Connection::close() {
  if (!open()) return;
  ::close(descriptor_);
  descriptor_ = -1;
  lost();
}
