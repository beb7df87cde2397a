#include "frontends/zookeeper/session.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/zookeeper_limits.h"
#include "frontends/zookeeper/digest.h"
#include "frontends/zookeeper/jute.h"
#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

constexpr char kTlsHandshake = 0x16;
constexpr std::size_t kLengthBytes = 4;
// That come in one piece, of a client that does not wait for each.
constexpr std::size_t kUsualCalls = 8;

// "1.2.3.4:5", "[::1]:5" and "[::ffff:1.2.3.4]:5" without the port.
std::string host_of(const std::string& peer) {
  constexpr std::string_view kMapped = "::ffff:";
  const std::size_t colon = peer.rfind(':');
  if (colon == std::string::npos) return peer;
  if (peer.front() != '[') return peer.substr(0, colon);
  std::string host = peer.substr(1, colon - 2);
  const bool is_mapped = host.starts_with(kMapped) && host.find('.') != std::string::npos;
  return is_mapped ? host.substr(kMapped.size()) : host;
}

// What a client has sent, for the log: short, and in one line.
std::string printable(BytesView bytes) {
  constexpr std::size_t kMost = 40;
  std::string text(bytes.substr(0, kMost));
  for (char& c : text) {
    if (c < ' ' || c > '~' || c == '"') c = '?';
  }
  return bytes.size() > kMost ? text + "..." : text;
}

std::int64_t negotiated_ms(std::int64_t wanted_ms) {
  constexpr std::int64_t kLeast = limits::kZooKeeperMinSessionTicks * limits::kZooKeeperTickMs;
  constexpr std::int64_t kMost = limits::kZooKeeperMaxSessionTicks * limits::kZooKeeperTickMs;
  return std::clamp(wanted_ms, kLeast, kMost);
}

class ZooKeeperSession final : public api::Session {
 public:
  ZooKeeperSession(const SessionOptions& options, const std::string& peer,
                   const api::ClientIdentity& identity)
      : options_(options),
        connections_(*options_.connections),
        facts_(connections_.add(id_, peer)),
        buffered_(options.all_buffers),
        common_name_(identity.common_name),
        address_(host_of(peer)),
        has_place_(connections_.take_place(address_, options_.max_per_address)) {
    caller_.ids.push_back({"ip", address_});
    if (!common_name_.empty()) caller_.ids.push_back({"x509", "CN=" + common_name_});
  }
  ~ZooKeeperSession() override {
    connections_.remove(id_);
    if (has_place_) connections_.leave_place(address_);
  }
  ZooKeeperSession(const ZooKeeperSession&) = delete;
  ZooKeeperSession& operator=(const ZooKeeperSession&) = delete;

  void on_bytes(BytesView bytes, Effects& effects) override {
    if (effects.close) return;
    if (!has_place_) return refuse_place(effects);
    if (!buffered_.has_room(bytes.size())) {
      return end(effects, "too many requests are arriving on all connections");
    }
    input_.append(bytes);
    take_packets(effects);
  }

  bool takes_bytes() const override {
    return phase_ != Phase::kOpening && phase_ != Phase::kWord && !is_last_asked_ && !is_full();
  }

  void on_response(api::CallId call, api::Response response, Effects& effects) override {
    if (effects.close) return;
    if (phase_ == Phase::kWord) return word_told(std::move(response), effects);
    const bool is_awaited = unawaited_.erase(call) == 0;
    if (const auto* error = std::get_if<api::Error>(&response.answer)) {
      if (!is_awaited) return;
      return end(effects, refusal_text(*error));
    }
    auto& reply = std::get<zk::Reply>(response.answer);
    if (phase_ == Phase::kOpening) {
      opened(reply, effects);
    } else if (!is_over(reply.code, effects)) {
      zxid_ = std::max(zxid_, reply.zxid);
      if (!answer_ping(call, reply, effects)) answer(call, reply, effects);
    }
    take_packets(effects);
  }

  bool on_part(api::CallId, const api::Header&, std::vector<api::KeyValue>, Effects&) override {
    return false;
  }
  bool on_watch(api::CallId, const api::Header&, const api::WatchNews&, Effects&) override {
    return true;
  }

  void on_zookeeper(zk::News news, Effects& effects) override {
    if (effects.close) return;
    if (const auto* over = std::get_if<zk::ConnectionOver>(&news))
      return end(effects, text_of(*over));
    if (effects.unsent + effects.send.size() > limits::kMaxUnsentBytes) {
      return end(effects, "it does not take the events of its watches");
    }
    const auto& event = std::get<zk::Event>(news);
    zxid_ = std::max(zxid_, event.zxid);
    append(event, effects.send);
    sent();
  }

  std::size_t held_bytes() const override { return held_bytes_; }

  void on_tick(Instant now, Effects& effects) override {
    if (effects.close) return;
    if (!has_place_) return refuse_place(effects);
    const bool waits = phase_ == Phase::kNew || (phase_ == Phase::kOpen && !input_.empty());
    const bool is_slow = effects.unsent > 0;  // it may not be read from meanwhile
    if (!waits || is_slow || is_full() || is_last_asked_) {
      waiting_since_ = {};
    } else if (waiting_since_.ns == 0) {
      waiting_since_ = now;
    } else if (now - waiting_since_ >= options_.packet_deadline) {
      end(effects, phase_ == Phase::kNew ? "it has not said in time what it wants"
                                         : "a packet has not arrived in time");
    }
  }

  // What has been asked for is answered still.
  void on_shutdown(Effects& effects) override {
    is_last_asked_ = true;
    if (phase_ != Phase::kWord) close_if_done(effects);
  }
  void on_drained(Effects&) override {}

 private:
  enum class Phase : std::uint8_t {
    kNew,      // nothing is known
    kOpening,  // a session has been asked for
    kOpen,
    kWord,  // a four-letter word is being answered
  };

  struct Pending {
    api::CallId call = 0;
    Request request;  // `what` has been moved from once it is asked for
    std::vector<zk::Id> ids;
    bool is_write = false;
    bool is_answered = false;
    std::size_t bytes = 0;  // of the request; of the answer once there is one
    Bytes answer;
    Instant begun;
  };
  struct PendingPing {
    api::CallId call = 0;
    std::int32_t xid = 0;
    Instant begun;
  };

  // --- bytes in ---------------------------------------------------------------------

  bool is_full() const {
    return pending_.size() + pings_.size() >= limits::kMaxZooKeeperRequests ||
           pending_bytes_ >= limits::kMaxZooKeeperRequestBytes;
  }

  void take_packets(Effects& effects) {
    std::size_t taken = 0;
    while (takes_bytes() && !effects.close) {
      const BytesView rest = BytesView(input_).substr(taken);
      if (rest.size() < kLengthBytes) break;
      if (phase_ == Phase::kNew && is_word(rest.substr(0, kLengthBytes))) {
        taken = input_.size();
        begin_word(Bytes(rest.substr(0, kLengthBytes)), effects);
        break;
      }
      const std::int32_t length = Reader(rest).int32();
      const std::size_t most = phase_ == Phase::kNew ? limits::kMaxZooKeeperConnectBytes
                                                     : limits::kMaxZooKeeperPacketBytes;
      const bool is_possible = length >= 0 && static_cast<std::size_t>(length) <= most;
      if (!is_possible) {
        end(effects, bad_length_text(length, rest));
        break;
      }
      const auto size = static_cast<std::size_t>(length);
      if (rest.size() - kLengthBytes < size) break;
      taken += kLengthBytes + size;
      waiting_since_ = {};
      take_packet(rest.substr(kLengthBytes, size), effects);
    }
    input_.erase(0, taken);
    if (input_.empty() && input_.capacity() > limits::kKeptZooKeeperInputBytes) input_ = Bytes();
    buffered_.set(input_.size() + pending_bytes_);
    facts_.unanswered = pending_.size() + pings_.size();
  }

  std::string bad_length_text(std::int32_t length, BytesView bytes) const {
    if (phase_ != Phase::kNew) return fmt::format("a packet of {} bytes", length);
    if (bytes[0] == kTlsHandshake) return "it speaks TLS, and this address is one without";
    return fmt::format("it does not speak ZooKeeper's protocol (a packet of {} bytes)", length);
  }

  void take_packet(BytesView packet, Effects& effects) {
    ++facts_.traffic.received;
    ++connections_.total.received;
    if (phase_ == Phase::kNew) return connect(packet, effects);
    std::optional<Request> request = decode_request(packet);
    if (!request) return end(effects, "a packet without a header");
    facts_.last_opcode = request->opcode;
    facts_.last_xid = request->xid;
    if (std::holds_alternative<Ping>(request->what)) return ping(request->xid, effects);
    if (const auto* auth = std::get_if<Auth>(&request->what)) {
      return authenticate(request->xid, *auth, effects);
    }
    add(std::move(*request), packet.size());
    ask(effects);
    send_answers(effects);
  }

  // --- the session ------------------------------------------------------------------

  void connect(BytesView packet, Effects& effects) {
    const auto request = decode_connect(packet);
    if (!request) return end(effects, "its first packet asks for no session");
    phase_ = Phase::kOpening;
    has_read_only_ = request->has_read_only;
    last_zxid_seen_ = request->last_zxid_seen;
    zk::WriteRequest write;
    if (request->session != 0 && request->password.size() != zk::kPasswordBytes) {
      return opened(zk::Reply{.code = zk::Code::kSessionExpired, .zxid = 0, .result = {}}, effects);
    }
    if (request->session == 0) {
      write.op = zk::OpenSession{.timeout_ms = negotiated_ms(request->timeout_ms), .password = {}};
    } else {
      write.op = zk::Reconnect{.id = request->session,
                               .password = request->password,
                               .last_zxid = request->last_zxid_seen};
    }
    effects.calls.push_back({next_call_++, {.body = std::move(write), .id = {}, .timeout_ms = {}}});
  }

  void opened(const zk::Reply& reply, Effects& effects) {
    // A client that comes back and has seen more than there is.
    if (reply.code == zk::Code::kBadArguments) return from_elsewhere(reply.zxid, effects);
    // Whether there is such a session has not been found out: the client comes back for it.
    if (reply.code != zk::Code::kOk && reply.code != zk::Code::kSessionExpired) {
      return end(effects, "it can have no session now: there is no space left");
    }
    if (reply.code != zk::Code::kOk) {
      append(ConnectResponse{.timeout_ms = 0,
                             .session = 0,
                             .password = Bytes(zk::kPasswordBytes, '\0'),
                             .has_read_only = has_read_only_},
             effects.send);
      sent();
      return end(effects, {});
    }
    if (last_zxid_seen_ > reply.zxid) return from_elsewhere(reply.zxid, effects);
    const auto& session = std::get<zk::Session>(reply.result);
    caller_.session = session.id;
    caller_.generation = session.generation;
    facts_.session = session.id;
    facts_.timeout_ms = session.timeout_ms;
    facts_.last_zxid = zxid_ = reply.zxid;
    append(ConnectResponse{session.timeout_ms, session.id, session.password, has_read_only_},
           effects.send);
    sent();
    phase_ = Phase::kOpen;
  }

  void from_elsewhere(zk::Zxid zxid, Effects& effects) {
    end(effects, fmt::format("it has seen zxid {:#x}, and there is none after {:#x} here: it comes "
                             "from another cluster",
                             last_zxid_seen_, zxid));
  }

  // As in ZooKeeper the client finds out what has become of its session when it comes back.
  bool is_over(zk::Code code, Effects& effects) {
    if (code == zk::Code::kSessionExpired) {
      end(effects, "its session has expired");
    } else if (code == zk::Code::kSessionMoved) {
      end(effects, "its session goes on with another connection");
    } else {
      return false;
    }
    return true;
  }

  void ping(std::int32_t xid, Effects& effects) {
    pings_.push_back({next_call_, xid, now()});
    zk::PingRequest request{caller_};
    effects.calls.push_back(
        {next_call_++, {.body = std::move(request), .id = {}, .timeout_ms = {}}});
  }

  bool answer_ping(api::CallId call, const zk::Reply& reply, Effects& effects) {
    const auto found = std::ranges::find(pings_, call, &PendingPing::call);
    if (found == pings_.end()) return false;
    append_answer(found->xid, zxid_, reply.code, effects.send);
    answered(found->begun);
    pings_.erase(found);
    close_if_done(effects);
    return true;
  }

  void authenticate(std::int32_t xid, const Auth& auth, Effects& effects) {
    constexpr zk::Zxid kNone = 0;
    const Instant begun = now();
    // It becomes as long as the user's name; and 20 bytes more, which are a little.
    if (identity_bytes_ + auth.credentials.size() > limits::kMaxZooKeeperIdentityBytes) {
      return end(effects, "it says too much of who it is");
    }
    const bool is_known = auth.scheme == "digest" || auth.scheme == "ip" ||
                          (auth.scheme == "x509" && !common_name_.empty());
    append_answer(xid, kNone, is_known ? zk::Code::kOk : zk::Code::kAuthFailed, effects.send);
    answered(begun);
    if (!is_known)
      return end(effects, "it cannot prove who it is by \"" + printable(auth.scheme) + "\"");
    if (auth.scheme != "digest") return;  // the connection itself has said it
    zk::Id id{auth.scheme, digest_id(auth.credentials)};
    if (std::ranges::find(caller_.ids, id) != caller_.ids.end()) return;
    if (!options_.super_digest.empty() && id.id == options_.super_digest) add_id({"super", {}});
    add_id(std::move(id));
    // From now on it is told what it may read by this. Nobody waits for the answer.
    unawaited_.insert(next_call_);
    effects.calls.push_back(
        {next_call_++, {.body = zk::PingRequest{caller_}, .id = {}, .timeout_ms = {}}});
  }

  void add_id(zk::Id id) {
    identity_bytes_ += sizeof id + id.scheme.size() + id.id.size();
    caller_.ids.push_back(std::move(id));
  }

  // --- requests in order ------------------------------------------------------------

  void add(Request request, std::size_t bytes) {
    Pending pending;
    pending.call = next_call_++;
    pending.bytes = sizeof pending + bytes + identity_bytes_;
    pending.begun = now();
    const bool is_close = request.opcode == static_cast<std::int32_t>(Opcode::kCloseSession);
    if (const auto* text = std::get_if<Reconfig>(&request.what)) request.what = reconfig(*text);
    pending.is_write = std::holds_alternative<Write>(request.what) || is_reconfig(request);
    if (const auto* refused = std::get_if<Refused>(&request.what)) {
      const bool is_end =
          refused->code == zk::Code::kUnimplemented || refused->code == zk::Code::kAuthFailed;
      if (is_end) is_last_asked_ = true;
      append_answer(request.xid, is_end ? kNoZxid : zxid_, refused->code, pending.answer);
      pending.is_answered = true;
    } else if (std::holds_alternative<WhoAmI>(request.what)) {
      append_who_i_am(request.xid, zxid_, caller_.ids, pending.answer);
      pending.is_answered = true;
    } else {
      pending.ids = caller_.ids;
    }
    if (is_close) is_last_asked_ = true;
    pending_bytes_ += pending.bytes;
    held_bytes_ += pending.answer.size();
    pending.request = std::move(request);
    pending_.push_back(std::move(pending));
  }

  decltype(Request::what) reconfig(const Reconfig& text) const {
    if (!options_.reconfig) return Refused{zk::Code::kReconfigDisabled};
    auto parsed = parse_reconfig(text);
    if (!parsed) return Refused{parsed.error()};
    return *std::move(parsed);
  }

  static bool is_reconfig(const Request& request) {
    return std::holds_alternative<zk::ReconfigRequest>(request.what);
  }

  // It is what brings a session that reads the member's own state up to date.
  static bool is_sync(const Request& request) {
    return request.opcode == static_cast<std::int32_t>(Opcode::kSync);
  }

  // Asks the member for what may be asked for now.
  void ask(Effects& effects) {
    for (; asked_ < pending_.size(); ++asked_) {
      Pending& next = pending_[asked_];
      if (next.is_answered) continue;
      const bool is_alone = is_reconfig(next.request);
      if (is_reconfiguring_ || (is_alone && writes_ > 0)) return;
      if ((next.is_write ? reads_ : writes_) > 0) return;
      is_reconfiguring_ = is_alone;
      ++(next.is_write ? writes_ : reads_);
      zk::Caller caller{caller_.session, caller_.generation, std::move(next.ids)};
      if (effects.calls.empty()) effects.calls.reserve(kUsualCalls);
      Effects::Call& call = effects.calls.emplace_back();
      call.id = next.call;
      if (auto* write = std::get_if<Write>(&next.request.what)) {
        auto& body = call.request.body.emplace<zk::WriteRequest>();
        body.caller = std::move(caller);
        body.op = std::move(*write);
        if (options_.enforce_quotas && zk::may_grow(body)) body.quotas = zk::Quotas::kEnforced;
      } else if (auto* change = std::get_if<zk::ReconfigRequest>(&next.request.what)) {
        change->caller = std::move(caller);
        call.request.body = std::move(*change);
      } else {
        auto& body = call.request.body.emplace<zk::ReadRequest>();
        body.caller = std::move(caller);
        body.local = options_.local_reads && !is_sync(next.request);
        body.op = std::move(std::get<Read>(next.request.what));
      }
    }
  }

  void answer(api::CallId call, const zk::Reply& reply, Effects& effects) {
    const auto found = std::ranges::lower_bound(pending_, call, {}, &Pending::call);
    if (found == pending_.end() || found->call != call || found->is_answered) return;
    --(found->is_write ? writes_ : reads_);
    if (is_reconfig(found->request)) is_reconfiguring_ = false;
    found->is_answered = true;
    if (reply.code == zk::Code::kQuotaExceeded) {
      // The member has refused it before its turn: that is of no state, and may wait for others'.
      append_answer(found->request.xid, kNoZxid, reply.code, found->answer);
    } else {
      append_answer(found->request, reply, found->answer);
    }
    held_bytes_ += found->answer.size();
    send_answers(effects);
    ask(effects);
    send_answers(effects);
  }

  void send_answers(Effects& effects) {
    while (!pending_.empty() && pending_.front().is_answered) {
      Pending& first = pending_.front();
      effects.send.append(first.answer);
      held_bytes_ -= first.answer.size();
      pending_bytes_ -= first.bytes;
      facts_.last_zxid = zxid_;
      answered(first.begun);
      pending_.pop_front();
      if (asked_ > 0) --asked_;
    }
    close_if_done(effects);
  }

  // --- words ------------------------------------------------------------------------

  void begin_word(Bytes word, Effects& effects) {
    phase_ = Phase::kWord;
    word_ = std::move(word);
    if (!is_allowed(options_.words, word_)) {
      effects.send += refuse_word(word_);
      return end(effects, {});
    }
    questions_ = questions_of(word_);
    ask_for_word(effects);
  }

  void word_told(api::Response response, Effects& effects) {
    told_.push_back(std::move(response));
    ask_for_word(effects);
  }

  void ask_for_word(Effects& effects) {
    if (told_.size() < questions_.size()) {
      api::Request request{.body = std::move(questions_[told_.size()]), .id = {}, .timeout_ms = {}};
      effects.calls.push_back({next_call_++, std::move(request)});
      return;
    }
    const ProcessFacts process = options_.process ? options_.process() : ProcessFacts();
    Told told{options_.words, process, connections_, std::move(told_)};
    effects.send += answer_word(word_, told);
    end(effects, {});
  }

  // --- the rest ---------------------------------------------------------------------

  Instant now() const { return options_.now ? options_.now() : Instant(); }

  // A packet has been sent.
  void sent() {
    ++facts_.traffic.sent;
    ++connections_.total.sent;
  }
  void answered(Instant begun) {
    const Duration latency = now() - begun;
    facts_.traffic.latencies.add(latency);
    connections_.total.latencies.add(latency);
    sent();
  }

  void close_if_done(Effects& effects) {
    if (is_last_asked_ && pending_.empty() && pings_.empty()) end(effects, {});
  }

  void refuse_place(Effects& effects) {
    end(effects, fmt::format("{} connections of its address are open", options_.max_per_address));
  }

  void end(Effects& effects, std::string reason) {
    effects.close = true;
    effects.close_reason = std::move(reason);
  }

  static std::string refusal_text(const api::Error& error) {
    const auto because = [&](std::string_view why) {
      return fmt::format("what it asks for cannot be done: {}{}{}", why,
                         error.detail.empty() ? "" : ": ", error.detail);
    };
    switch (error.code) {
      case api::ErrorCode::kTimeout:
        return because("there was no answer in time");
      case api::ErrorCode::kNoLeader:
        return because("the cluster has no leader");
      case api::ErrorCode::kTooManyRequests:
        return because("too many requests are under way");
      case api::ErrorCode::kNoSpace:
        return because("there is no space left");
      case api::ErrorCode::kRequestTooLarge:
        return because("it is larger than --max-request-bytes");
      case api::ErrorCode::kLearner:
      case api::ErrorCode::kWitness:
        return because("this member does not serve clients");
      case api::ErrorCode::kCorrupt:
        return because("members disagree about the state");
      default:
        return because(fmt::format("error {}", static_cast<int>(error.code)));
    }
  }

  static std::string text_of(const zk::ConnectionOver& over) {
    switch (over.why) {
      case zk::ConnectionOver::Why::kSessionExpired:
        return "its session has expired";
      case zk::ConnectionOver::Why::kSessionMoved:
        return "its session goes on with another connection";
      case zk::ConnectionOver::Why::kSessionClosed:
        return "its session was closed by another connection";
      case zk::ConnectionOver::Why::kStateReplaced:
        return "this member got its state from another one: the client has to come back";
    }
    CHECK(false, "why {}", static_cast<int>(over.why));
  }

  const SessionOptions options_;
  Connections& connections_;
  Connections::Id id_ = 0;
  ConnectionFacts& facts_;
  wire::BufferShare buffered_;
  const std::string common_name_;
  const std::string address_;
  const bool has_place_;  // among the connections of its address

  Phase phase_ = Phase::kNew;
  Bytes input_;                 // that has not been taken
  Instant waiting_since_;       // for the rest of a packet, by tick; 0: nothing is awaited
  bool is_last_asked_ = false;  // closes when all has been answered
  bool has_read_only_ = false;
  zk::Zxid last_zxid_seen_ = 0;  // by the client, when it came
  zk::Zxid zxid_ = 0;            // that it has been told
  zk::Caller caller_;
  std::size_t identity_bytes_ = 0;  // of caller_.ids, by auth packets
  api::CallId next_call_ = 1;

  std::deque<Pending> pending_;  // in the order of their calls
  std::size_t asked_ = 0;        // of these, those at the front have been asked for
  std::size_t writes_ = 0;       // asked for and not answered
  std::size_t reads_ = 0;
  bool is_reconfiguring_ = false;  // one of the writes is a reconfig, and there is no other
  std::size_t pending_bytes_ = 0;
  std::size_t held_bytes_ = 0;  // of answers in pending_
  std::deque<PendingPing> pings_;
  std::set<api::CallId> unawaited_;  // pings that the client did not send

  Bytes word_;
  std::vector<api::Body> questions_;
  std::vector<api::Response> told_;
};

}  // namespace

std::unique_ptr<api::Session> make_session(const SessionOptions& options, const std::string& peer,
                                           const api::ClientIdentity& identity) {
  return std::make_unique<ZooKeeperSession>(options, peer, identity);
}

api::SessionFactory make_sessions(SessionOptions options) {
  if (!options.connections) options.connections = std::make_shared<Connections>();
  options.all_buffers = std::make_shared<wire::RequestBuffers>();
  return
      [options = std::move(options)](const std::string& peer, const api::ClientIdentity& identity) {
        return make_session(options, peer, identity);
      };
}

}  // namespace conclave::zookeeper
