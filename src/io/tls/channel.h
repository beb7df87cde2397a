#pragma once
// One TLS connection as a state machine, over OpenSSL: bytes of the other side in, bytes for it
// out. It has no socket and no time of its own.
//
// Threading: one thread owns a channel.

#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "io/tls/credentials.h"

namespace conclave::io {

class TlsChannel {
 public:
  enum class State : std::uint8_t { kHandshake, kOpen, kEnded, kFailed };

  // A client's channel demands a certificate that is valid for `host`, if its context verifies.
  TlsChannel(std::shared_ptr<const TlsContext> context, TlsRole role, const std::string& host);
  ~TlsChannel();
  TlsChannel(TlsChannel&&) noexcept;
  TlsChannel& operator=(TlsChannel&&) = delete;

  State state() const { return state_; }
  // kFailed: why, in words.
  const std::string& failure() const { return failure_; }

  // The next bytes of the other side; they must stay until they are used up, which they are when
  // handshake() has returned in kHandshake, or read() with 0. REQUIRES: the last ones are.
  void feed(BytesView encrypted);
  // Goes as far as it can with what was fed. A client begins with it.
  void handshake();
  // Decrypts into `into`; returns how many bytes. 0: what was fed is used up, or the channel has
  // ended or failed. REQUIRES: `into` is not empty; the handshake is over.
  std::size_t read(std::span<char> into);
  // REQUIRES: kOpen.
  void write(BytesView plain);
  // Tells the other side that nothing more comes (close_notify).
  void close();
  // What is to be sent to the other side.
  Bytes take_output();

  // The common name of the other side's certificate; empty if it showed none that was verified.
  std::string common_name() const;

 private:
  struct Wire;  // where OpenSSL reads and writes

  void fail_with(int result);

  std::shared_ptr<const TlsContext> context_;
  std::unique_ptr<Wire> wire_;
  OwnedSsl ssl_;
  State state_ = State::kHandshake;
  std::string failure_;
};

}  // namespace conclave::io
