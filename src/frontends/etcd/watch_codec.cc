#include "frontends/etcd/watch_codec.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "etcd_election.pb.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/json_fields.h"
#include "frontends/etcd/translate.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

using google::protobuf::io::CodedOutputStream;
using wire::GrpcCode;
using wire::GrpcStatus;

// --- requests -----------------------------------------------------------------------

// What is no message is refused in the words of a stream, not of a call (codec.cc).
std::expected<void, GrpcStatus> parse(google::protobuf::Message& message, Format format,
                                      BytesView bytes) {
  if (format == Format::kJson) {
    if (auto parsed = wire::from_json(bytes, message); !parsed) {
      return std::unexpected(GrpcStatus{GrpcCode::kInvalidArgument, parsed.error().message});
    }
  } else if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return std::unexpected(
        GrpcStatus{GrpcCode::kInternal, "grpc: failed to unmarshal the received message"});
  }
  return {};
}

api::WatchCreate to_api(pb::WatchCreateRequest& from) {
  api::WatchCreate to;
  to.key = std::move(*from.mutable_key());
  to.range_end = std::move(*from.mutable_range_end());
  to.start_revision = from.start_revision();
  to.id = from.watch_id();
  to.prev_kv = from.prev_kv();
  to.progress_notify = from.progress_notify();
  to.fragment = from.fragment();
  for (const int filter : from.filters()) {
    to.no_put = to.no_put || filter == pb::WatchCreateRequest::NOPUT;
    to.no_delete = to.no_delete || filter == pb::WatchCreateRequest::NODELETE;
  }
  return to;
}

std::optional<api::WatchRequest> to_api(pb::WatchRequest& from) {
  switch (from.request_union_case()) {
    case pb::WatchRequest::kCreateRequest:
      return to_api(*from.mutable_create_request());
    case pb::WatchRequest::kCancelRequest:
      return api::WatchCancel{from.cancel_request().watch_id()};
    case pb::WatchRequest::kProgressRequest:
      return api::WatchProgressAsked{};
    case pb::WatchRequest::REQUEST_UNION_NOT_SET:
      return std::nullopt;
  }
  return std::nullopt;
}

// --- events -------------------------------------------------------------------------

// Tags of etcd.proto's and etcd_kv.proto's fields: number << 3 | wire type.
enum Tag : std::uint8_t {
  kKeyTag = 1 << 3 | 2,
  kCreateTag = 2 << 3,
  kModTag = 3 << 3,
  kVersionTag = 4 << 3,
  kValueTag = 5 << 3 | 2,
  kLeaseTag = 6 << 3,
  kTypeTag = 1 << 3,
  kKvTag = 2 << 3 | 2,
  kPrevKvTag = 3 << 3 | 2,
  kEventsTag = 11 << 3 | 2,
  kHeaderTag = 1 << 3 | 2,
  kWatchIdTag = 2 << 3,
  kFragmentTag = 7 << 3,
  kClusterTag = 1 << 3,
  kMemberTag = 2 << 3,
  kRevisionTag = 3 << 3,
  kTermTag = 4 << 3,
};

std::size_t varint_size(std::uint64_t value) { return CodedOutputStream::VarintSize64(value); }

// proto3 leaves out what has its default value.
std::size_t size_of(std::uint64_t number) { return number == 0 ? 0 : 1 + varint_size(number); }
std::size_t size_of(std::int64_t number) { return size_of(static_cast<std::uint64_t>(number)); }
std::size_t size_of(BytesView bytes) {
  return bytes.empty() ? 0 : 1 + varint_size(bytes.size()) + bytes.size();
}
std::size_t size_of(const api::KeyValueView& kv) {
  return size_of(kv.key) + size_of(kv.create_revision) + size_of(kv.mod_revision) +
         size_of(kv.version) + size_of(kv.value) + size_of(kv.lease);
}
std::size_t size_of_part(std::size_t content) { return 1 + varint_size(content) + content; }
std::size_t size_of(const api::Event& event) {
  return (event.is_delete ? 2 : 0) + size_of_part(size_of(event.kv)) +
         (event.prev_kv ? size_of_part(size_of(*event.prev_kv)) : 0);
}

// Appends fields to a message. Numbers and lengths are gathered, as each is only a few bytes.
class Fields {
 public:
  explicit Fields(Bytes& out) : out_(out) {}
  ~Fields() { flush(); }
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;

  void number(Tag tag, std::uint64_t value) {
    if (value != 0) pair(tag, value);
  }
  void number(Tag tag, std::int64_t value) { number(tag, static_cast<std::uint64_t>(value)); }
  void bytes(Tag tag, BytesView value) {
    if (value.empty()) return;
    part(tag, value.size());
    flush();
    out_.append(value);
  }
  // A message within this one, whose fields come next.
  void part(Tag tag, std::size_t size) { pair(tag, size); }

 private:
  static constexpr std::size_t kMostOfAPair = 11;

  void pair(Tag tag, std::uint64_t value) {
    if (size_ + kMostOfAPair > gathered_.size()) flush();
    gathered_[size_++] = static_cast<char>(tag);
    for (; value >= 0x80; value >>= 7) gathered_[size_++] = static_cast<char>(value | 0x80);
    gathered_[size_++] = static_cast<char>(value);
  }
  void flush() { out_.append(gathered_.data(), std::exchange(size_, 0)); }

  Bytes& out_;
  std::array<char, 96> gathered_;
  std::size_t size_ = 0;
};

void append(Tag tag, const api::KeyValueView& kv, Fields& out) {
  out.part(tag, size_of(kv));
  out.bytes(kKeyTag, kv.key);
  out.number(kCreateTag, kv.create_revision);
  out.number(kModTag, kv.mod_revision);
  out.number(kVersionTag, kv.version);
  out.bytes(kValueTag, kv.value);
  out.number(kLeaseTag, kv.lease);
}
void append(const api::Event& event, Fields& out) {
  out.part(kEventsTag, size_of(event));
  if (event.is_delete) out.number(kTypeTag, std::int64_t{1});
  append(kKvTag, event.kv, out);
  if (event.prev_kv) append(kPrevKvTag, *event.prev_kv, out);
}

// --- responses ----------------------------------------------------------------------

void append_json(const api::Event& event, Bytes& out) {
  out += event.is_delete ? R"({"type":"DELETE","kv":)" : R"({"kv":)";
  append_key_value(event.kv, out);
  if (event.prev_kv) {
    out += R"(,"prev_kv":)";
    append_key_value(*event.prev_kv, out);
  }
  out.push_back('}');
}

// What the gateway's streams carry.
Bytes json_line(const pb::WatchResponse& response, std::span<const api::Event> events) {
  Bytes out = R"({"result":{"header":{)";
  add_unsigned("cluster_id", response.header().cluster_id(), out);
  add_unsigned("member_id", response.header().member_id(), out);
  add_number("revision", response.header().revision(), out);
  add_unsigned("raft_term", response.header().raft_term(), out);
  end_object(out);
  out.push_back(',');
  add_number("watch_id", response.watch_id(), out);
  add_flag("created", response.created(), out);
  add_flag("canceled", response.canceled(), out);
  add_number("compact_revision", response.compact_revision(), out);
  add_text("cancel_reason", response.cancel_reason(), out);
  add_flag("fragment", response.fragment(), out);
  if (!events.empty()) {
    out += R"("events":[)";
    for (const api::Event& event : events) {
      append_json(event, out);
      out.push_back(',');
    }
    out.back() = ']';
  }
  end_object(out);
  out += "}\n";
  return out;
}

// A WatchResponse with events, as protobuf.
void append_response(const api::Header& header, api::WatchId id, bool is_fragment,
                     std::span<const api::Event> events, Bytes& out) {
  Fields fields(out);
  fields.part(kHeaderTag, size_of(header.cluster.value) + size_of(header.member.value) +
                              size_of(header.revision) + size_of(header.epoch.value));
  fields.number(kClusterTag, header.cluster.value);
  fields.number(kMemberTag, header.member.value);
  fields.number(kRevisionTag, header.revision);
  fields.number(kTermTag, header.epoch.value);
  fields.number(kWatchIdTag, id);
  fields.number(kFragmentTag, std::int64_t{is_fragment});
  for (const api::Event& event : events) append(event, fields);
}

// How many of `events` fit into one response, at least one.
std::size_t count_that_fits(std::span<const api::Event> events, std::size_t max_bytes) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    bytes += size_of_part(size_of(events[i]));
    if (i > 0 && bytes >= max_bytes) return i;
  }
  return events.size();
}

// Calls visit(events, whether more of them follow) for what one response has.
template <class Visit>
void for_each_piece(const api::WatchEvents& news, std::size_t max_bytes, Visit visit) {
  std::span<const api::Event> events = news.events;
  do {
    const std::size_t count = news.fragment ? count_that_fits(events, max_bytes) : events.size();
    visit(events.subspan(0, count), count < events.size());
    events = events.subspan(count);
  } while (!events.empty());
}

const char* text_of(api::WatchRefused::Reason reason) {
  using Reason = api::WatchRefused::Reason;
  switch (reason) {
    case Reason::kIdInUse:
      return "mvcc: duplicate watch ID provided on the WatchStream";
    case Reason::kEmptyRange:
      return "mvcc: watcher range is empty";
    case Reason::kTooMany:
      return "etcdserver: too many requests";
    case Reason::kCorrupt:
      return "etcdserver: corrupt cluster";
    case Reason::kDenied:
      break;  // says itself why
  }
  std::unreachable();
}

Bytes encode_leader(Format format, const api::Header& header, const api::ElectionLeader& news) {
  v3electionpb::LeaderResponse response;
  etcd::to_proto(header, *response.mutable_header());
  mvccpb::KeyValue& kv = *response.mutable_kv();
  kv.set_key(Bytes(news.kv.key));
  kv.set_value(Bytes(news.kv.value));
  kv.set_create_revision(news.kv.create_revision);
  kv.set_mod_revision(news.kv.mod_revision);
  kv.set_version(news.kv.version);
  kv.set_lease(news.kv.lease);
  if (format == Format::kProtobuf) return response.SerializeAsString();
  return fmt::format("{{\"result\":{}}}\n", wire::to_json(response));
}

// Fills a response with all but the events.
struct Response {
  void operator()(const api::WatchCreated& news) const {
    response.set_watch_id(news.id);
    response.set_created(true);
  }
  void operator()(const api::WatchRefused& news) const {
    response.set_watch_id(news.id);
    response.set_created(true);
    response.set_canceled(true);
    const bool is_denied = news.reason == api::WatchRefused::Reason::kDenied;
    response.set_cancel_reason(is_denied ? reason_of(news.why) : text_of(news.reason));
  }
  void operator()(const api::WatchEvents& news) const { response.set_watch_id(news.id); }
  void operator()(const api::WatchCanceled& news) const {
    response.set_watch_id(news.id);
    response.set_canceled(true);
    if (news.why) response.set_cancel_reason(reason_of(*news.why));
  }
  void operator()(const api::WatchCompacted& news) const {
    response.set_watch_id(news.id);
    response.set_canceled(true);
    response.set_compact_revision(news.compact_revision);
  }
  void operator()(const api::WatchProgress& news) const { response.set_watch_id(news.id); }
  void operator()(const api::ElectionLeader&) const {
    CHECK(false, "an election's leader is no WatchResponse");
  }
  void operator()(const api::WatchFeedEnded&) const {
    CHECK(false, "the end of a feed is no message");
  }

  pb::WatchResponse& response;
};

}  // namespace

std::expected<std::optional<api::WatchRequest>, GrpcStatus> decode_watch_request(Format format,
                                                                                 BytesView bytes) {
  pb::WatchRequest message;
  if (auto parsed = parse(message, format, bytes); !parsed) return std::unexpected(parsed.error());
  return to_api(message);
}

std::expected<api::WatchRequest, GrpcStatus> decode_observe_request(Format format,
                                                                    BytesView bytes) {
  v3electionpb::LeaderRequest message;
  if (auto parsed = parse(message, format, bytes); !parsed) return std::unexpected(parsed.error());
  return api::ObserveElection{std::move(*message.mutable_name())};
}

void set_asker(api::WatchRequest& request, std::optional<Bytes> token, const std::string& name) {
  const auto set = [&](auto& asked) {
    asked.token = std::move(token);
    asked.identity.user = name;
  };
  if (auto* create = std::get_if<api::WatchCreate>(&request)) set(*create);
  if (auto* observe = std::get_if<api::ObserveElection>(&request)) set(*observe);
}

void append_watch_events(const api::Header& header, const api::WatchEvents& news,
                         std::size_t max_bytes, Bytes& out) {
  for_each_piece(news, max_bytes, [&](std::span<const api::Event> events, bool is_fragment) {
    const std::size_t begin = wire::begin_message(out);
    append_response(header, news.id, is_fragment, events, out);
    wire::end_message(out, begin);
  });
}

std::vector<Bytes> encode_watch_news(Format format, const api::Header& header,
                                     const api::WatchNews& news, std::size_t max_bytes) {
  if (const auto* leader = std::get_if<api::ElectionLeader>(&news)) {
    return {encode_leader(format, header, *leader)};
  }
  std::vector<Bytes> messages;
  const auto* told = std::get_if<api::WatchEvents>(&news);
  if (told != nullptr && format == Format::kProtobuf) {
    for_each_piece(*told, max_bytes, [&](std::span<const api::Event> events, bool is_fragment) {
      append_response(header, told->id, is_fragment, events, messages.emplace_back());
    });
    return messages;
  }
  pb::WatchResponse response;
  to_proto(header, *response.mutable_header());
  std::visit(Response{response}, news);
  if (format == Format::kProtobuf) return {response.SerializeAsString()};
  if (told == nullptr) return {json_line(response, {})};
  for_each_piece(*told, max_bytes, [&](std::span<const api::Event> events, bool is_fragment) {
    response.set_fragment(is_fragment);
    messages.push_back(json_line(response, events));
  });
  return messages;
}

}  // namespace conclave::etcd
