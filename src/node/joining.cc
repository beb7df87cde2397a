#include "node/joining.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/frame.h"
#include "peer.pb.h"

namespace conclave::node {
namespace {

constexpr Duration kPatience = seconds(5);
constexpr Duration kAnswerLimit = seconds(1);
constexpr Duration kPause = milliseconds(200);

using UrlSets = std::vector<std::vector<std::string>>;

std::string to_text(const UrlSets& sets) {
  std::string text;
  for (const auto& urls : sets) {
    text += text.empty() ? "" : ", ";
    for (const std::string& url : urls) text += (&url == &urls.front() ? "" : "+") + url;
  }
  return text;
}

}  // namespace

// One question to one address.
struct Joining::Attempt : io::ConnectionHandler {
  explicit Attempt(Joining& joining) : owner(joining) {}

  void on_bytes(BytesView bytes) override {
    reader.feed(bytes);
    const Result<std::optional<Frame>> frame = reader.next();
    if (!frame) return owner.answered(Failure(frame.error()));
    if (!*frame) return;
    if ((*frame)->type != FrameType::kJoinReply) {
      return owner.answered(fail(ErrorCode::kIo, "it does not know how to let a member join"));
    }
    owner.answered(Bytes((*frame)->payload));
  }
  void on_drained() override {}
  void on_closed(const Error& why) override { owner.answered(Failure(why)); }

  Joining& owner;
  std::unique_ptr<io::Network::Connector> connector;
  std::unique_ptr<io::Connection> connection;
  FrameReader reader;
  bool ended = false;
};

Joining::Joining(Options options, std::vector<std::string> own_urls, io::Clock& clock,
                 io::Network& network, std::move_only_function<void(Result<Options>)> done)
    : options_(std::move(options)),
      own_urls_(std::move(own_urls)),
      clock_(clock),
      network_(network),
      done_(std::move(done)),
      deadline_(clock.now() + kPatience),
      last_(Error{ErrorCode::kIo, "--initial-cluster names nobody else"}) {
  for (const PeerOptions& member : options_.members) {
    if (member.peer_urls == own_urls_) continue;
    addresses_.insert(addresses_.end(), member.addresses.begin(), member.addresses.end());
  }
  timer_ = clock_.after(Duration{}, [this] { ask_next(); });
}

Joining::~Joining() { clock_.cancel(timer_); }

void Joining::ask_next() {
  attempt_.reset();
  if (addresses_.empty() || clock_.now() >= deadline_) {
    return finish(fail(last_.code, "cannot join: " + last_.message));
  }
  attempt_ = std::make_unique<Attempt>(*this);
  timer_ =
      clock_.after(kAnswerLimit, [this] { answered(fail(ErrorCode::kIo, "it does not answer")); });
  attempt_->connector = network_.connect(
      addresses_[next_ % addresses_.size()],
      [this](Result<std::unique_ptr<io::Connection>> connected) {
        if (!connected) return answered(Failure(connected.error()));
        peer::v1::Join question;
        question.set_protocol(kPeerProtocol);
        attempt_->connection = std::move(*connected);
        attempt_->connection->start(attempt_.get());
        attempt_->connection->send(encode_frame(FrameType::kJoin, question.SerializeAsString()));
      });
}

// Called from inside the attempt: it is destroyed by the timer.
void Joining::answered(const Result<Bytes>& answer) {
  if (!attempt_ || std::exchange(attempt_->ended, true)) return;
  clock_.cancel(timer_);
  const std::string asked = addresses_[next_++ % addresses_.size()].to_string();
  Result<Options> options = answer ? options_from(*answer) : Failure(answer.error());
  if (options) {
    timer_ = clock_.after(
        Duration{}, [this, joined = std::move(*options)]() mutable { finish(std::move(joined)); });
    return;
  }
  const Error& why = options.error();
  if (why.message != last_.message) LOG(kWarn, "cannot join yet: {}: {}", asked, why.message);
  last_ = why;
  timer_ = clock_.after(kPause, [this] { ask_next(); });
}

Result<Options> Joining::options_from(const Bytes& answer) const {
  peer::v1::JoinReply reply;
  if (!reply.ParseFromString(answer)) return fail(ErrorCode::kCorrupt, "not a member's answer");
  if (!reply.accepted()) return fail(ErrorCode::kIo, reply.reason());
  Options joined = options_;
  joined.members.clear();
  joined.self = {};
  UrlSets theirs;
  UrlSets ours;
  for (const auto& member : reply.members()) {
    const PeerUrls urls =
        TRY(options_.parse_peer_urls({member.peer_urls().begin(), member.peer_urls().end()}));
    const bool is_self = urls.urls == own_urls_;
    joined.members.push_back(PeerOptions{.id = NodeId{member.id()},
                                         .name = is_self ? options_.name : member.name(),
                                         .peer_urls = urls.urls,
                                         .addresses = urls.addresses});
    theirs.push_back(urls.urls);
    if (!is_self) continue;
    joined.self = NodeId{member.id()};
    joined.is_witness = member.is_witness();
    if (member.has_data()) {
      return fail(ErrorCode::kMismatch,
                  fmt::format("member {:x} has been here with another data directory, and what it "
                              "acknowledged is not in {}. Replace it: `conclave member replace {} "
                              "--endpoints <one that runs>`, then start it again",
                              member.id(), options_.data_dir, options_.name));
    }
  }
  for (const PeerOptions& member : options_.members) ours.push_back(member.peer_urls);
  std::ranges::sort(theirs);
  std::ranges::sort(ours);
  if (!joined.self) {
    return fail(ErrorCode::kMismatch,
                fmt::format("the cluster has no member with the peer URLs {}: add this one first, "
                            "`etcdctl member add {} --peer-urls={}`",
                            to_text({own_urls_}), options_.name, to_text({own_urls_})));
  }
  if (theirs != ours) {
    return fail(ErrorCode::kMismatch,
                fmt::format("the members of the cluster have the peer URLs {}, but "
                            "--initial-cluster has {}",
                            to_text(theirs), to_text(ours)));
  }
  const std::string engine = reply.engine().empty() ? "raft" : reply.engine();
  const auto known = consensus_of(engine);
  if (!known || (!options_.any_engine && *known != options_.engine)) {
    return fail(ErrorCode::kMismatch,
                fmt::format("the cluster was created with --consensus {}, not {}", engine,
                            name_of(options_.engine)));
  }
  joined.engine = *known;
  joined.initial_membership.reset();
  if (!reply.initial_membership().empty()) {
    joined.initial_membership = TRY(consensus::decode_membership(reply.initial_membership()));
  }
  joined.cluster = ClusterId{reply.cluster()};
  joined.joined_at = LogIndex{reply.applied()};
  joined.founders.clear();
  for (const std::uint64_t id : reply.founders()) joined.founders.push_back(NodeId{id});
  if (!joined.cluster || joined.founders.empty()) {
    return fail(ErrorCode::kCorrupt, "its answer lacks the cluster or its founders");
  }
  return joined;
}

void Joining::finish(Result<Options> result) {
  attempt_.reset();
  auto done = std::exchange(done_, nullptr);
  done(std::move(result));
}

}  // namespace conclave::node
