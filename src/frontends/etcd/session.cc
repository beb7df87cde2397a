#include "frontends/etcd/session.h"

#include <utility>

#include "frontends/etcd/grpc_session.h"
#include "frontends/etcd/http_session.h"
#include "wire/http2_frames.h"

namespace conclave::etcd {
namespace {

constexpr char kTlsHandshake = 0x16;

class EtcdSession final : public api::Session {
 public:
  EtcdSession(const SessionOptions& options, const std::string& peer)
      : options_(options), peer_(peer) {}

  void on_bytes(BytesView bytes, Effects& effects) override {
    if (chosen_ == nullptr) {
      opening_.append(bytes);
      if (opening_[0] == kTlsHandshake) {
        effects.close = true;
        effects.close_reason = "it speaks TLS, and this address is one without";
        return name_peer(effects);
      }
      if (!choose()) return;
      chosen_->on_bytes(opening_, effects);
      Bytes().swap(opening_);
    } else {
      chosen_->on_bytes(bytes, effects);
    }
    name_peer(effects);
  }

  void on_response(api::CallId call, api::Response response, Effects& effects) override {
    if (chosen_ == nullptr) return;
    chosen_->on_response(call, std::move(response), effects);
    name_peer(effects);
  }

  bool on_part(api::CallId call, const api::Header& header, std::vector<api::KeyValue> kvs,
               Effects& effects) override {
    return chosen_ != nullptr && chosen_->on_part(call, header, std::move(kvs), effects);
  }

  bool on_watch(api::CallId feed, const api::Header& header, const api::WatchNews& news,
                Effects& effects) override {
    return chosen_ != nullptr && chosen_->on_watch(feed, header, news, effects);
  }

  std::size_t held_bytes() const override { return chosen_ == nullptr ? 0 : chosen_->held_bytes(); }

  void on_tick(Instant now, Effects& effects) override {
    if (chosen_ == nullptr) {
      if (opened_.ns == 0) opened_ = now;
      if (now - opened_ < options_.request_deadline) return;
      effects.close = true;
      effects.close_reason = "nothing recognizable was sent in time";
    } else {
      chosen_->on_tick(now, effects);
    }
    name_peer(effects);
  }

  void on_shutdown(Effects& effects) override {
    if (chosen_ == nullptr) {
      effects.close = true;
    } else {
      chosen_->on_shutdown(effects);
    }
  }

  void on_drained(Effects& effects) override {
    if (chosen_ == nullptr) return;
    chosen_->on_drained(effects);
    name_peer(effects);
  }

 private:
  // False while what has arrived could still become HTTP/2's preface.
  bool choose() {
    const BytesView preface = wire::kHttp2Preface;
    if (BytesView(opening_).starts_with(preface)) {
      chosen_ = std::make_unique<GrpcSession>(options_);
    } else if (!preface.starts_with(opening_)) {
      chosen_ = std::make_unique<HttpSession>(options_);
    }
    return chosen_ != nullptr;
  }

  void name_peer(Effects& effects) {
    if (effects.close_reason.empty() || named_) return;
    named_ = true;
    effects.close_reason = peer_ + ": " + effects.close_reason;
  }

  SessionOptions options_;
  std::string peer_;
  Bytes opening_;  // until it is clear what the client speaks
  std::unique_ptr<api::Session> chosen_;
  Instant opened_;  // by tick; 0: not yet
  bool named_ = false;
};

}  // namespace

std::unique_ptr<api::Session> make_session(const SessionOptions& options, const std::string& peer) {
  return std::make_unique<EtcdSession>(options, peer);
}

api::SessionFactory make_sessions(SessionOptions options) {
  options.all_buffers = std::make_shared<wire::RequestBuffers>();
  return
      [options = std::move(options)](const std::string& peer, const api::ClientIdentity& identity) {
        SessionOptions of_client = options;
        if (options.certificates_name_users) of_client.common_name = identity.common_name;
        return make_session(of_client, peer);
      };
}

}  // namespace conclave::etcd
