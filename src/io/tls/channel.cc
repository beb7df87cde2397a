#include "io/tls/channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "io/tls/certificates.h"

namespace conclave::io {

namespace {

constexpr char kAlertRecord = 0x15;
constexpr char kHandshakeRecord = 0x16;
constexpr std::size_t kRecordBytes = 16 * 1024;
constexpr std::size_t kRecordOverhead = 64;  // more than any cipher suite adds

}  // namespace

// The functions are OpenSSL's way to let somebody else do the input and output: without a buffer in
// between.
struct TlsChannel::Wire {
  BytesView in;
  Bytes out;
  std::string shown;    // the common name in the other side's certificate, verified or not
  bool is_tls = false;  // as far as its first byte tells

  static Wire& of(BIO* bio) { return *static_cast<Wire*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int size) {
    Wire& wire = of(bio);
    BIO_clear_retry_flags(bio);
    if (wire.in.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const std::size_t taken = std::min(wire.in.size(), static_cast<std::size_t>(size));
    std::memcpy(into, wire.in.data(), taken);
    wire.in.remove_prefix(taken);
    return static_cast<int>(taken);
  }

  static int write(BIO* bio, const char* data, int size) {
    of(bio).out.append(data, static_cast<std::size_t>(size));
    return size;
  }

  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* const fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
      CHECK(fresh != nullptr);
      BIO_meth_set_read(fresh, read);
      BIO_meth_set_write(fresh, write);
      BIO_meth_set_ctrl(fresh, control);
      BIO_meth_set_create(fresh, create);
      return fresh;
    }();
    return made;
  }
};

TlsChannel::TlsChannel(std::shared_ptr<const TlsContext> context, TlsRole role,
                       const std::string& host)
    : context_(std::move(context)),
      wire_(std::make_unique<Wire>()),
      ssl_(SSL_new(context_->context.get())) {
  CHECK(ssl_ != nullptr);
  BIO* const bio = BIO_new(Wire::method());
  CHECK(bio != nullptr);
  BIO_set_data(bio, wire_.get());
  SSL_set_bio(ssl_.get(), bio, bio);
  remember_shown_name(*ssl_, wire_->shown);
  if (role == TlsRole::kServer) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
    expect_host(*ssl_, host);
  }
}

TlsChannel::~TlsChannel() = default;
TlsChannel::TlsChannel(TlsChannel&&) noexcept = default;

void TlsChannel::feed(BytesView encrypted) {
  CHECK(wire_->in.empty());
  wire_->in = encrypted;
}

void TlsChannel::handshake() {
  if (state_ != State::kHandshake) return;
  if (!wire_->is_tls && !wire_->in.empty()) {
    wire_->is_tls = wire_->in[0] == kHandshakeRecord || wire_->in[0] == kAlertRecord;
    if (!wire_->is_tls) {
      state_ = State::kFailed;
      failure_ = "the other side does not speak TLS";
      return;
    }
  }
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    state_ = State::kOpen;
  } else if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
    fail_with(result);
  }
}

std::size_t TlsChannel::read(std::span<char> into) {
  if (state_ != State::kOpen) return 0;
  ERR_clear_error();
  const int got = SSL_read(ssl_.get(), into.data(), static_cast<int>(into.size()));
  if (got > 0) return static_cast<std::size_t>(got);
  const int error = SSL_get_error(ssl_.get(), got);
  if (error == SSL_ERROR_ZERO_RETURN) {
    state_ = State::kEnded;
  } else if (error != SSL_ERROR_WANT_READ) {
    fail_with(got);
  }
  return 0;
}

void TlsChannel::write(BytesView plain) {
  CHECK(state_ == State::kOpen);
  const std::size_t records = plain.size() / kRecordBytes + 1;
  wire_->out.reserve(wire_->out.size() + plain.size() + records * kRecordOverhead);
  ERR_clear_error();
  while (!plain.empty()) {
    std::size_t taken = 0;
    const int result = SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &taken);
    if (result != 1) return fail_with(result);
    plain.remove_prefix(taken);
  }
}

void TlsChannel::close() {
  if (state_ != State::kOpen && state_ != State::kEnded) return;
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

Bytes TlsChannel::take_output() { return std::exchange(wire_->out, {}); }

std::string TlsChannel::common_name() const {
  const X509* const shown = SSL_get0_peer_certificate(ssl_.get());
  const bool verifies = (SSL_get_verify_mode(ssl_.get()) & SSL_VERIFY_PEER) != 0;
  return shown != nullptr && verifies ? common_name_of(*shown) : std::string();
}

void TlsChannel::fail_with(int result) {
  state_ = State::kFailed;
  const long verified = SSL_get_verify_result(ssl_.get());
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_SSL && verified != X509_V_OK) {
    const std::string& name = wire_->shown;
    failure_ = "its certificate" + (name.empty() ? "" : " (" + name + ")") + " is refused: ";
    failure_ += verified == X509_V_ERR_APPLICATION_VERIFICATION
                    ? "not a name that is allowed"
                    : X509_verify_cert_error_string(verified);
    ERR_clear_error();
    return;
  }
  failure_ = openssl_error("TLS broke");
}

}  // namespace conclave::io
