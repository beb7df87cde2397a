#include "node/peers.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "peer.pb.h"

namespace conclave::node {
namespace {

constexpr Duration kFirstRetry = milliseconds(20);
constexpr Duration kLongestRetry = milliseconds(500);
// A link that takes nothing for this long is broken, whatever TCP believes.
constexpr Duration kStuck = seconds(5);
constexpr Duration kHelloTimeout = seconds(5);
// Members that can be reached say something at least once a second.
constexpr Duration kSilence = seconds(3);

}  // namespace

// Why a Hello is not accepted, and what the sender has to make of it.
struct Peers::Refusal {
  std::string reason;
  peer::v1::HelloReply::Verdict verdict = peer::v1::HelloReply::OTHER;
};

// The connection we dialled to one peer, and when to dial it next.
struct Peers::Outbound : io::ConnectionHandler {
  Outbound(Peers& peers, PeerOptions peer) : owner(peers), options(std::move(peer)) {}

  void on_bytes(BytesView bytes) override {
    reader.feed(bytes);
    Result<std::optional<Frame>> frame = reader.next();
    if (!frame) return broken(frame.error().message);
    if (!*frame) return;
    peer::v1::HelloReply reply;
    const BytesView payload = (*frame)->payload;
    if ((*frame)->type != FrameType::kHelloReply ||
        !reply.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
      return broken("not a member's answer");
    }
    if (!reply.accepted()) return refused(reply);
    ready = true;
    retry = kFirstRetry;
    last_complaint.clear();
    LOG(kInfo, "connected to member {} ({:x})", options.name, options.id.value);
    owner.handler_->on_peer_connected(options.id);
  }
  void refused(const peer::v1::HelloReply& reply) {
    broken("refused: " + reply.reason());
    if (reply.verdict() == peer::v1::HelloReply::REMOVED) {
      owner.handler_->on_peer_refused(options.id, Error{ErrorCode::kRemoved, reply.reason()});
    } else if (reply.verdict() == peer::v1::HelloReply::LOST_DATA) {
      owner.handler_->on_peer_refused(options.id, Error{ErrorCode::kMismatch, reply.reason()});
    }
  }
  void on_drained() override {}
  void on_closed(const Error& why) override { broken(why.message); }

  void send(Bytes frame) {
    // As it counts what is unsent: with TLS that is more than the frame.
    const std::size_t before = connection->unsent_bytes();
    connection->send(std::move(frame));
    queued += connection->unsent_bytes() - before;
  }
  // A slow link moves too: what counts is whether anything was taken since it was looked at last.
  void note_progress(Instant now) {
    const std::uint64_t left = queued - connection->unsent_bytes();
    const bool idle = ready && connection->unsent_bytes() == 0;
    if (idle || left != taken) last_progress = now;
    taken = left;
  }

  // Each complaint is logged once until it changes: dialling goes on several times a second.
  void broken(const std::string& why) {
    if (why != last_complaint) {
      LOG(kWarn, "no link to member {} ({:x}): {}", options.name, options.id.value, why);
      last_complaint = why;
    }
    const bool was_ready = ready;
    ready = false;
    connection.reset();
    connector.reset();
    reader = FrameReader(limits::kMaxHelloBytes);
    next_dial = owner.clock_.now() + retry;
    retry = std::min(retry * 2, kLongestRetry);
    ++address;
    if (was_ready) owner.handler_->on_peer_lost(options.id);
  }

  Peers& owner;
  const PeerOptions options;
  std::unique_ptr<io::Network::Connector> connector;
  std::unique_ptr<io::Connection> connection;
  FrameReader reader{limits::kMaxHelloBytes};  // nothing else comes on it
  bool ready = false;                          // the other side accepted our Hello
  std::size_t address = 0;  // counts the tries; the address is this modulo how many there are
  Instant next_dial;
  std::uint64_t queued = 0;  // bytes, on this connection
  std::uint64_t taken = 0;   // of them, those that had left when it was looked at last
  Instant last_progress;
  Duration retry = kFirstRetry;
  std::string last_complaint;
};

// A connection somebody dialled to us; anonymous until its Hello.
struct Peers::Inbound : io::ConnectionHandler {
  Inbound(Peers& peers, std::unique_ptr<io::Connection> accepted)
      : owner(peers), connection(std::move(accepted)), since(peers.clock_.now()) {}

  void on_bytes(BytesView bytes) override {
    if (from) owner.bytes_[from].received += bytes.size();
    reader.feed(bytes);
    while (!closed) {
      Result<std::optional<Frame>> frame = reader.next();
      if (!frame) return refuse(frame.error().message);
      if (!*frame) return;
      if (from) {
        owner.deliver(from, **frame);
      } else if ((*frame)->type == FrameType::kJoin) {
        return tell_members();
      } else {
        greet(**frame);
      }
    }
  }
  void on_drained() override {}
  void on_closed(const Error&) override {
    closed = true;
    ++owner.calls_;
    if (from) owner.handler_->on_peer_lost(from);
  }

  void greet(const Frame& frame) {
    const std::expected<NodeId, Refusal> sender = owner.accept_hello(frame);
    if (!sender) return refuse(sender.error().reason, sender.error().verdict);
    from = *sender;
    reader.allow(limits::kMaxPeerFrameBytes);
    peer::v1::HelloReply reply;
    reply.set_accepted(true);
    connection->send(encode_frame(FrameType::kHelloReply, reply.SerializeAsString()));
  }

  void tell_members() {
    connection->send(encode_frame(FrameType::kJoinReply, owner.handler_->join_reply()));
    end();
  }

  void refuse(const std::string& why,
              peer::v1::HelloReply::Verdict verdict = peer::v1::HelloReply::OTHER) {
    LOG(kWarn, "refused a peer connection from {}: {}", connection->peer_name(), why);
    if (!from) {
      peer::v1::HelloReply reply;
      reply.set_reason(why);
      reply.set_verdict(verdict);
      connection->send(encode_frame(FrameType::kHelloReply, reply.SerializeAsString()));
    }
    end();
  }

  // To be destroyed a second from now, when what was sent has left.
  void end() {
    closed = true;
    connection->close_after_send();
    since = owner.clock_.now();
  }

  Peers& owner;
  std::unique_ptr<io::Connection> connection;
  FrameReader reader{limits::kMaxHelloBytes};
  NodeId from;          // none before the Hello
  bool closed = false;  // to be destroyed at the next tick
  Instant since;
};

Peers::Peers(const Options& options, std::uint64_t incarnation,
             std::map<NodeId, std::uint64_t> directories, io::Clock& clock, io::Network& network,
             PeerHandler* handler)
    : options_(options),
      incarnation_(incarnation),
      clock_(clock),
      network_(network),
      handler_(handler),
      seen_directories_(std::move(directories)) {}

Peers::~Peers() = default;

Result<void> Peers::start() {
  for (const io::Address& address : options_.peer_listen) {
    auto accepted = [this](std::unique_ptr<io::Connection> connection) {
      const auto ungreeted =
          std::ranges::count_if(inbound_, [](const auto& entry) { return !entry.second->from; });
      if (static_cast<std::size_t>(ungreeted) >= limits::kMaxUngreetedPeers) return;
      auto inbound = std::make_unique<Inbound>(*this, std::move(connection));
      inbound->connection->start(inbound.get());
      inbound_.emplace(next_inbound_++, std::move(inbound));
    };
    listeners_.push_back(TRY(network_.listen(address, std::move(accepted))));
  }
  started_ = true;
  for (auto& [id, link] : outbound_) dial(*link);
  return {};
}

void Peers::update(PeerTable table) {
  table_ = std::move(table);
  std::erase_if(outbound_, [this](const auto& entry) {
    const auto peer = table_.peers.find(entry.first);
    return peer == table_.peers.end() ||
           peer->second.options.addresses != entry.second->options.addresses;
  });
  for (const auto& [id, peer] : table_.peers) connect(peer);
  for (auto& [number, inbound] : inbound_) {
    if (!inbound->from || inbound->closed || table_.peers.contains(inbound->from)) continue;
    inbound->end();  // it dials again, and is told why then
  }
}

void Peers::connect(const PeerTable::Peer& peer) {
  const NodeId id = peer.options.id;
  if (outbound_.contains(id)) return;
  auto& link =
      *outbound_.emplace(id, std::make_unique<Outbound>(*this, peer.options)).first->second;
  if (started_) dial(link);
}

void Peers::dial(Outbound& link) {
  if (link.options.addresses.empty()) return;  // it has to dial us first, and tell
  const std::vector<io::Address>& addresses = link.options.addresses;
  link.connector =
      network_.connect(addresses[link.address % addresses.size()],
                       [this, &link](Result<std::unique_ptr<io::Connection>> connected) {
                         if (!connected) return link.broken(connected.error().message);
                         link.connector.reset();
                         link.connection = std::move(*connected);
                         link.last_progress = clock_.now();
                         link.queued = 0;
                         link.taken = 0;
                         link.connection->start(&link);
                         link.send(hello_for(link.options.id));
                       });
}

Bytes Peers::hello_for(NodeId to) const {
  peer::v1::Hello hello;
  hello.set_protocol(kPeerProtocol);
  hello.set_cluster(options_.cluster.value);
  hello.set_from(options_.self.value);
  hello.set_to(to.value);
  hello.set_incarnation(incarnation_);
  hello.set_directory(options_.directory);
  hello.set_engine(std::string(name_of(options_.engine)));
  for (const PeerOptions& member : options_.members) {
    if (member.id != options_.self) continue;
    for (const std::string& url : member.peer_urls) hello.add_peer_urls(url);
  }
  return encode_frame(FrameType::kHello, hello.SerializeAsString());
}

std::expected<NodeId, Peers::Refusal> Peers::accept_hello(const Frame& frame) {
  using peer::v1::HelloReply;
  const auto refuse = [](std::string reason, HelloReply::Verdict verdict = HelloReply::OTHER) {
    return std::unexpected(Refusal{std::move(reason), verdict});
  };
  peer::v1::Hello hello;
  if (frame.type != FrameType::kHello ||
      !hello.ParseFromArray(frame.payload.data(), static_cast<int>(frame.payload.size()))) {
    return refuse("a connection must begin with Hello");
  }
  if (hello.protocol() != kPeerProtocol) {
    return refuse(
        fmt::format("peer protocol {} is not spoken here, {} is", hello.protocol(), kPeerProtocol));
  }
  const std::string engine = hello.engine().empty() ? "raft" : hello.engine();
  if (engine != name_of(options_.engine)) {
    return refuse(fmt::format("member {:x} runs with --consensus {}, this member with {}",
                              hello.from(), engine, name_of(options_.engine)));
  }
  if (hello.cluster() != options_.cluster.value) {
    return refuse(fmt::format("member {:x} is of cluster {:x}, this member of cluster {:x}",
                              hello.from(), hello.cluster(), options_.cluster.value));
  }
  // Whomever it looks for: at all the addresses that it knows others may be by now.
  const NodeId from{hello.from()};
  if (table_.removed.contains(from)) {
    return refuse(fmt::format("member {:x} was removed from the cluster", hello.from()),
                  HelloReply::REMOVED);
  }
  if (hello.to() != options_.self.value) {
    return refuse(fmt::format("this is member {:x}, not {:x}", options_.self.value, hello.to()));
  }
  if (from == options_.self || !from) return refuse("a member does not call itself");
  const auto peer = table_.peers.find(from);
  if (peer == table_.peers.end() && callers().size() >= limits::kMaxPeerCallers) {
    return refuse(fmt::format("{:x} is not a member, and too many call already", hello.from()));
  }
  told_urls_[from] = {hello.peer_urls().begin(), hello.peer_urls().end()};
  ++calls_;
  if (hello.directory() == 0) return from;  // from before directories had ids
  const std::uint64_t known =
      peer != table_.peers.end() && peer->second.directory != 0
          ? peer->second.directory
          : seen_directories_.try_emplace(from, hello.directory()).first->second;
  if (known == hello.directory()) return from;
  const std::string name = peer == table_.peers.end() ? "" : peer->second.options.name;
  return refuse(
      fmt::format("member {} ({:x}) has been here with another data directory", name, hello.from()),
      HelloReply::LOST_DATA);
}

std::set<NodeId> Peers::callers() const {
  std::set<NodeId> ids;
  for (const auto& [number, inbound] : inbound_) {
    if (inbound->from && !inbound->closed) ids.insert(inbound->from);
  }
  return ids;
}

std::vector<io::Address> Peers::told_addresses(NodeId peer) const {
  const auto told = told_urls_.find(peer);
  if (told == told_urls_.end() || !options_.parse_peer_urls) return {};
  const Result<PeerUrls> urls = options_.parse_peer_urls(told->second);
  return urls ? urls->addresses : std::vector<io::Address>{};
}

void Peers::deliver(NodeId from, const Frame& frame) {
  heard_at_[from] = clock_.now();
  if (frame.type != FrameType::kEngine) {
    return handler_->on_peer_message(from, frame.type, frame.payload);
  }
  consensus::Envelope envelope{.group = {}, .from = from, .to = options_.self, .message = {}};
  if (frame.payload.size() < sizeof(envelope.group.value)) return;
  frame.payload.copy(reinterpret_cast<char*>(&envelope.group.value), sizeof(envelope.group.value));
  envelope.message = frame.payload.substr(sizeof(envelope.group.value));
  handler_->on_engine_message(std::move(envelope));
}

Peers::Outbound* Peers::open_link(NodeId peer) {
  const auto found = outbound_.find(peer);
  if (found == outbound_.end() || !found->second->ready) return nullptr;
  const bool full = found->second->connection->unsent_bytes() > limits::kMaxPeerUnsentBytes;
  return full ? nullptr : found->second.get();
}

void Peers::send(NodeId to, FrameType type, BytesView payload) {
  if (Outbound* link = open_link(to)) send_on(*link, encode_frame(type, payload));
}

void Peers::send(const consensus::Envelope& envelope) {
  if (Outbound* link = open_link(envelope.to)) {
    send_on(*link, encode_engine_frame(envelope.group.value, envelope.message));
  }
}

void Peers::send_on(Outbound& link, Bytes frame) {
  ++messages_sent_;
  bytes_sent_ += frame.size();
  bytes_[link.options.id].sent += frame.size();
  link.send(std::move(frame));
}

std::map<NodeId, Stats::PeerBytes> Peers::bytes() const {
  std::map<NodeId, Stats::PeerBytes> bytes;
  for (const auto& [id, link] : outbound_) {
    const auto counted = bytes_.find(id);
    if (counted != bytes_.end()) bytes[id] = counted->second;
    bytes[id].connected = link->ready;
  }
  return bytes;
}

void Peers::broadcast(FrameType type, BytesView payload) {
  for (const auto& [id, link] : outbound_) send(id, type, payload);
}

void Peers::tick() {
  const Instant now = clock_.now();
  for (auto& [id, link] : outbound_) {
    if (link->connection != nullptr) {
      link->note_progress(now);
      if (now - link->last_progress > kStuck) link->broken("it takes nothing any more");
    } else if (link->connector == nullptr && now >= link->next_dial) {
      dial(*link);
    }
  }
  std::erase_if(inbound_, [now](const auto& entry) {
    const Inbound& inbound = *entry.second;
    const bool silent = !inbound.from && now - inbound.since > kHelloTimeout;
    return silent || (inbound.closed && now - inbound.since > seconds(1));
  });
  if (told_urls_.size() > table_.peers.size() + limits::kMaxPeerCallers) forget_strangers();
}

// Whoever called once and is neither a member nor calling now.
void Peers::forget_strangers() {
  const std::set<NodeId> calling = callers();
  const auto is_strange = [&](const auto& entry) {
    return !table_.peers.contains(entry.first) && !calling.contains(entry.first);
  };
  std::erase_if(told_urls_, is_strange);
  std::erase_if(heard_at_, is_strange);
  std::erase_if(seen_directories_, is_strange);
  std::erase_if(bytes_, is_strange);
}

bool Peers::is_active(NodeId peer) const {
  const auto link = outbound_.find(peer);
  const auto heard = heard_at_.find(peer);
  return link != outbound_.end() && link->second->ready && heard != heard_at_.end() &&
         clock_.now() - heard->second < kSilence;
}

std::size_t Peers::connected() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(outbound_, [](const auto& entry) { return entry.second->ready; }));
}

}  // namespace conclave::node
