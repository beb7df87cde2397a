#pragma once
// gRPC on one connection. Calls are unary but for Watch, whose stream is a feed of watches
// (api/watch.h), Election/Observe, whose answers are a feed, Lease/LeaseKeepAlive, a stream of
// requests (keep_alives.h), Maintenance/Snapshot, a stream of answers (snapshot_stream.h), and
// Health/Watch, which answers with the present state and stays open; the member is asked again at
// each tick.

#include <map>
#include <set>
#include <vector>

#include "api/session.h"
#include "frontends/etcd/call_counts.h"
#include "frontends/etcd/codec.h"
#include "frontends/etcd/keep_alives.h"
#include "frontends/etcd/range_answer.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/snapshot_stream.h"
#include "wire/http2_server.h"

namespace conclave::etcd {

class GrpcSession final : public api::Session {
 public:
  explicit GrpcSession(const SessionOptions& options);

  void on_bytes(BytesView bytes, Effects& effects) override;
  void on_response(api::CallId call, api::Response response, Effects& effects) override;
  bool on_part(api::CallId call, const api::Header& header, std::vector<api::KeyValue> kvs,
               Effects& effects) override;
  bool on_watch(api::CallId feed, const api::Header& header, const api::WatchNews& news,
                Effects& effects) override;
  std::size_t held_bytes() const override;
  void on_tick(Instant now, Effects& effects) override;
  void on_shutdown(Effects& effects) override;
  void on_drained(Effects& effects) override;

 private:
  void take_news(Effects& effects);
  // The last word on a call, for whoever counts.
  void ended(wire::Http2Stream& stream, wire::GrpcCode code);
  void on_stream(wire::Http2Stream& stream, Effects& effects);
  bool accept(wire::Http2Stream& stream);
  void read_message(wire::Http2Stream& stream, Effects& effects);
  void read_keep_alives(wire::Http2Stream& stream, Effects& effects);
  void end_keep_alives(wire::Http2Stream& stream);
  void answer_keep_alive(api::CallId call, api::Response& response, Effects& effects);
  void call(wire::Http2Stream& stream, Effects& effects);
  std::expected<api::Request, wire::GrpcStatus> request_of(const wire::Http2Stream& stream,
                                                           BytesView message);
  // The message alone, without what the header adds.
  std::expected<api::Request, wire::GrpcStatus> decode(const wire::Http2Stream& stream,
                                                       BytesView message);
  bool accept_of_service(wire::Http2Stream& stream);
  void answer_of_service(wire::Http2Stream& stream, const api::Response& response);
  void refuse(wire::Http2Stream& stream, const wire::GrpcStatus& status);
  void refuse_http(wire::Http2Stream& stream, BytesView http_status);
  void answer(wire::Http2Stream& stream, api::Response& response);
  void answer_watch(wire::Http2Stream& stream, api::Response& response);
  // A grant comes with its fence.
  void start_answer(wire::Http2Stream& stream, const api::Answer& answer);
  void finish_range(wire::Http2Stream& stream, api::Response& response);
  void write_message(wire::Http2Stream& stream, api::Response& response);
  void poll_watches(Effects& effects);
  void end_watches();
  void settle(Effects& effects);
  void settle_later(Effects& effects);
  void call_waiting(Effects& effects);

  // Streams of snapshots (snapshot_streams.cc).
  void answer_snapshot(wire::Http2Stream& stream, api::Response& response, Effects& effects);
  void go_on_with_snapshot(wire::Http2Stream& stream, SnapshotStream& snapshot, Effects& effects);
  void send_snapshot_part(wire::Http2Stream& stream, const SnapshotStream::Message& message);
  void end_snapshot(wire::Http2Stream& stream, const wire::GrpcStatus& status);
  void go_on_with_snapshots(Effects& effects);

  // Streams of watches (watch_streams.cc).
  void read_watches(wire::Http2Stream& stream, Effects& effects);
  void observe(wire::Http2Stream& stream, BytesView message, Effects& effects);
  void open_feed(wire::Http2Stream& stream, Effects& effects);
  void end_feed(wire::Http2Stream& stream, const wire::GrpcStatus& status);
  bool has_room_for_events(const wire::Http2Stream& stream, const Effects& effects) const;
  void announce_room(Effects& effects);
  void end_feeds();

  void want_leader(const wire::Http2Stream& stream, Effects& effects);
  void poll_leader(Effects& effects);
  static void ask_for_leader(wire::Http2Key stream, Effects& effects);
  void hear_of_leader(wire::Http2Stream& stream, const api::Response& response, Effects& effects);

  // An open Health/Watch and what it was last told.
  struct HealthWatch {
    wire::Http2Key key;
    bool healthy;
  };

  SessionOptions options_;
  wire::Http2Server http2_;
  Codec codec_;
  CallCounter counter_;
  KeepAlives keep_alives_;
  // Complete requests, held back while too many answers are unsent.
  std::vector<wire::Http2Key> waiting_;
  std::vector<HealthWatch> watches_;
  std::set<wire::Http2Key> feeds_;       // streams of watches, and of an election's leaders
  std::set<wire::Http2Key> full_feeds_;  // that refused news
  // Streams that end when this member knows no leader; for how many seconds it has known none.
  std::map<wire::Http2Key, std::uint32_t> leader_wanted_;
  // Answers of which some parts have come.
  std::map<wire::Http2Key, RangeAnswer> ranges_;
  std::map<wire::Http2Key, SnapshotStream> snapshots_;
  std::set<wire::Http2Key> snapshot_calls_;  // those, and others that have not begun
  bool stopping_ = false;
};

}  // namespace conclave::etcd
