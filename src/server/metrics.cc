#include "server/metrics.h"

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "server/process_numbers.h"
#include "server/version.h"

namespace conclave::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Page {
 public:
  void gauge(std::string name, std::string help, double value) {
    ClientMetric metric;
    metric.gauge.value = value;
    add(std::move(name), std::move(help), MetricType::Gauge, std::move(metric));
  }
  void counter(std::string name, std::string help, double value) {
    ClientMetric metric;
    metric.counter.value = value;
    add(std::move(name), std::move(help), MetricType::Counter, std::move(metric));
  }
  void histogram(std::string name, std::string help, const node::Histogram& histogram) {
    const auto upper = [](std::size_t i) {
      return static_cast<double>(node::Histogram::upper_us(i)) / 1e6;
    };
    add(std::move(name), std::move(help), histogram.counts, upper,
        static_cast<double>(histogram.sum_us) / 1e6);
  }
  void histogram(std::string name, std::string help, const store::LeaseCounts& counts) {
    const auto upper = [](std::size_t i) { return static_cast<double>(std::uint64_t{1} << i); };
    add(std::move(name), std::move(help), counts.ttls, upper, counts.ttl_sum_s);
  }
  // One of several with the same name, one after the other.
  void labelled(MetricType type, const std::string& name, std::string help, Labels labels,
                double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    if (!families_.empty() && families_.back().name == name) {
      families_.back().metric.push_back(std::move(metric));
    } else {
      add(name, std::move(help), type, std::move(metric));
    }
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  // A histogram; its last bucket has no upper bound.
  void add(std::string name, std::string help, std::span<const std::uint64_t> counts,
           double (*upper)(std::size_t), double sum) {
    ClientMetric metric;
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      cumulative += counts[i];
      const bool last = i + 1 == counts.size();
      metric.histogram.bucket.push_back(
          {cumulative, last ? std::numeric_limits<double>::infinity() : upper(i)});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = sum;
    add(std::move(name), std::move(help), MetricType::Histogram, std::move(metric));
  }
  void add(std::string name, std::string help, MetricType type, ClientMetric metric) {
    MetricFamily family;
    family.name = std::move(name);
    family.help = std::move(help);
    family.type = type;
    family.metric.push_back(std::move(metric));
    families_.push_back(std::move(family));
  }

  std::vector<MetricFamily> families_;
};

constexpr std::array<const char*, etcd::CallCounts::kCodes> kGrpcCodes = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

double number(std::uint64_t value) { return static_cast<double>(value); }
double number(bool value) { return value ? 1 : 0; }
double number(api::Revision value) { return static_cast<double>(value); }

void add_consensus(Page& page, const node::Stats& stats) {
  const consensus::EngineStatus& engine = stats.engine;
  page.gauge("etcd_server_has_leader", "Whether this member knows a leader.",
             number(static_cast<bool>(engine.leader)));
  page.gauge("etcd_server_is_leader", "Whether this member leads.",
             number(engine.role == consensus::Role::kLeader));
  page.gauge("etcd_server_is_learner", "Whether this member is a learner.",
             number(engine.role == consensus::Role::kLearner));
  page.counter("etcd_server_leader_changes_seen_total", "Changes of leader this member has seen.",
               number(stats.leader_changes));
  page.gauge("etcd_server_proposals_committed_total", "Index of the newest committed log entry.",
             number(engine.commit.value));
  page.gauge("etcd_server_proposals_applied_total", "Index of the newest applied log entry.",
             number(stats.applied.value));
  page.gauge("etcd_server_proposals_pending", "Writes of clients that wait at this member.",
             number(stats.writes_waiting));
  page.gauge("conclave_writes_queued",
             "Of them, those kept back so that each connection gets its share.",
             number(stats.writes_queued));
  page.gauge("conclave_write_window_bytes",
             "The others: what may be on its way through the log at once, by cost.",
             number(stats.write_window));
  page.counter("conclave_requests_refused_total", "Complete requests told \"too many requests\".",
               number(stats.requests_refused));
  page.counter("conclave_disk_hand_overs_total",
               "Times that this member gave up leading since its disk did not take the log.",
               number(stats.disk_hand_overs));
  page.counter("etcd_server_proposals_failed_total",
               "Writes of clients that were refused or timed out.", number(stats.writes_failed));
  page.gauge("conclave_epoch", "The engine's epoch (Raft: term).", number(engine.epoch.value));
  page.gauge("conclave_peers_connected", "Other members this one is connected to.",
             number(stats.peers_connected));
  page.counter("conclave_peer_sent_messages_total", "Messages sent to other members.",
               number(stats.peer_messages_sent));
  page.counter("conclave_peer_sent_bytes_total", "Bytes of messages sent to other members.",
               number(stats.peer_bytes_sent));
  page.counter("conclave_log_entries_proposed_total",
               "Log entries this member proposed as leader; each carries a batch of writes.",
               number(stats.entries_proposed));
}

void add_peers(Page& page, const node::Stats& stats) {
  const auto hex = [](NodeId id) { return fmt::format("{:x}", id.value); };
  for (const auto& [id, bytes] : stats.peer_bytes) {
    page.labelled(MetricType::Counter, "etcd_network_peer_sent_bytes_total",
                  "Bytes of messages sent to another member.", {{"To", hex(id)}},
                  number(bytes.sent));
  }
  for (const auto& [id, bytes] : stats.peer_bytes) {
    page.labelled(MetricType::Counter, "etcd_network_peer_received_bytes_total",
                  "Bytes received from another member.", {{"From", hex(id)}},
                  number(bytes.received));
  }
  for (const auto& [id, bytes] : stats.peer_bytes) {
    page.labelled(MetricType::Gauge, "etcd_network_active_peers",
                  "Whether this member is connected to another.",
                  {{"Local", hex(stats.engine.self)}, {"Remote", hex(id)}},
                  number(bytes.connected));
  }
}

void add_disk(Page& page, const node::Stats& stats) {
  page.histogram("etcd_disk_wal_fsync_duration_seconds",
                 "From handing an append to the log until it is durable.", stats.persist);
  page.counter("etcd_disk_wal_write_bytes_total", "Bytes written to the log.",
               number(stats.log.bytes));
  page.counter("conclave_wal_syncs_total", "Syncs of the log; each covers all that waited.",
               number(stats.log.syncs));
  page.gauge("conclave_wal_segments", "Segment files of the log.", number(stats.log.segments));
  page.gauge("conclave_wal_queued_bytes", "Bytes accepted by the log and not durable yet.",
             number(static_cast<std::uint64_t>(stats.log.queued_bytes)));
  page.gauge("conclave_disk_full", "Whether the disk has no room for another log segment.",
             number(stats.disk_full));
  page.gauge("conclave_snapshot_index", "Log index of the newest durable snapshot.",
             number(stats.snapshot.value));
  page.counter("conclave_snapshots_taken_total", "Snapshots written.",
               number(stats.snapshots_taken));
  page.counter("conclave_snapshots_installed_total", "Snapshots received from a leader.",
               number(stats.snapshots_installed));
}

void add_store(Page& page, const node::Stats& stats) {
  page.gauge("etcd_debugging_mvcc_keys_total", "Keys in the store.", number(stats.keys));
  page.gauge("etcd_debugging_mvcc_current_revision", "The store's revision.",
             number(stats.revision));
  page.gauge("etcd_debugging_mvcc_compact_revision", "The revision up to which history is gone.",
             number(stats.compact_revision));
  page.gauge("etcd_mvcc_db_total_size_in_bytes", "Memory of keys, values and history.",
             number(stats.store_bytes));
  page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes",
             "Of that, what the newest revision of each key needs.",
             number(stats.store_bytes_in_use));
  page.gauge("etcd_debugging_mvcc_db_total_size_in_bytes", "The same by its older name.",
             number(stats.store_bytes));
  if (stats.quota_bytes > 0) {
    page.gauge("etcd_server_quota_backend_bytes", "How large the store may become.",
               number(stats.quota_bytes));
  }
  page.gauge("conclave_corrupt", "Whether members disagree about the state.",
             number(stats.corrupt));
}

void add_watches(Page& page, const node::Stats& stats) {
  page.gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.",
             number(stats.watch_feeds));
  page.gauge("etcd_debugging_mvcc_watcher_total", "Watches.", number(stats.watches));
  page.gauge("etcd_debugging_mvcc_slow_watcher_total",
             "Watches that have not been told everything yet.", number(stats.watches_late));
  page.counter("etcd_debugging_mvcc_events_total", "Events that watches were told.",
               number(stats.watch_events));
  page.gauge("etcd_debugging_mvcc_pending_events_total",
             "Events that are about to be told; what a slow watch misses stays in the history.",
             number(stats.watch_events_pending));
}

// Every member counts what it applies; etcd's leader alone counts what was renewed and expired.
void add_leases(Page& page, const node::Stats& stats) {
  const store::LeaseCounts& counts = stats.lease_counts;
  page.gauge("conclave_leases", "Leases there are.", number(stats.leases));
  page.counter("etcd_debugging_lease_granted_total", "Leases granted.", number(counts.granted));
  page.counter("etcd_debugging_lease_renewed_total", "Times that a lease was kept alive.",
               number(counts.renewed));
  page.counter("etcd_debugging_lease_revoked_total", "Leases revoked, those that expired too.",
               number(counts.revoked));
  page.counter("etcd_debugging_server_lease_expired_total", "Leases that expired.",
               number(counts.expired));
  page.histogram("etcd_debugging_lease_ttl_total", "Times to live of leases, in seconds.", counts);
}

void add_clients(Page& page, const node::Stats& stats) {
  page.gauge("conclave_client_connections", "Open client connections.",
             number(stats.client_connections));
  page.counter("etcd_network_client_grpc_received_bytes_total",
               "Bytes received from clients, those of HTTP/1.1 too.",
               number(stats.client_bytes_received));
  page.counter("etcd_network_client_grpc_sent_bytes_total",
               "Bytes sent to clients, those of HTTP/1.1 too.", number(stats.client_bytes_sent));
  page.counter("conclave_writes_received_total", "Writes received from clients.",
               number(stats.writes_received));
  page.counter("conclave_writes_applied_total", "Writes of this member's clients applied.",
               number(stats.writes_applied));
  page.counter("conclave_reads_served_total", "Reads answered.", number(stats.reads_served));
  page.counter("conclave_reads_failed_total", "Reads refused or timed out.",
               number(stats.reads_failed));
  page.counter("conclave_read_barriers_total", "Read barriers; all waiting reads share one.",
               number(stats.barriers));
}

BytesView type_of(etcd::Method method) {
  if (etcd::is_stream_of_requests(method)) return "bidi_stream";
  return etcd::is_stream_of_answers(method) ? "server_stream" : "unary";
}

// "/etcdserverpb.KV/Put": grpc-prometheus' labels of it.
Labels labels_of(BytesView path, etcd::Method method) {
  const std::size_t slash = path.rfind('/');
  return {{"grpc_method", std::string(path.substr(slash + 1))},
          {"grpc_service", std::string(path.substr(1, slash - 1))},
          {"grpc_type", std::string(type_of(method))}};
}

// All methods from the start, so that what grows from nothing is seen to; codes as they come.
void add_calls(Page& page, const etcd::CallCounts& calls) {
  for (const auto& [path, method] : etcd::all_methods()) {
    page.labelled(MetricType::Counter, "grpc_server_started_total", "gRPC calls that began.",
                  labels_of(path, method), number(calls.of(method).started));
  }
  for (const auto& [path, method] : etcd::all_methods()) {
    for (std::size_t code = 0; code < etcd::CallCounts::kCodes; ++code) {
      const std::uint64_t count = calls.of(method).handled[code];
      if (count == 0 && code != 0) continue;
      Labels labels = labels_of(path, method);
      labels.insert(labels.begin(), {"grpc_code", kGrpcCodes[code]});
      page.labelled(MetricType::Counter, "grpc_server_handled_total",
                    "gRPC calls that ended, by the code that their clients were told.",
                    std::move(labels), number(count));
    }
  }
}

void add_process(Page& page) {
  const ProcessNumbers numbers = process_numbers();
  page.counter("process_cpu_seconds_total", "CPU time of this process, in seconds.", numbers.cpu_s);
  page.gauge("process_start_time_seconds", "When it started, in seconds since 1970.",
             numbers.start_time_s);
  page.gauge("process_resident_memory_bytes", "Memory that it has.",
             number(numbers.resident_bytes));
  page.gauge("process_virtual_memory_bytes", "Addresses that it has.",
             number(numbers.virtual_bytes));
  page.gauge("process_open_fds", "Open files and connections.", number(numbers.open_files));
  page.gauge("process_max_fds", "How many there may be.", number(numbers.max_files));
}

void add_versions(Page& page, const node::Stats& stats) {
  page.labelled(MetricType::Gauge, "etcd_server_id", "This member's id.",
                {{"server_id", fmt::format("{:x}", stats.engine.self.value)}}, 1);
  page.labelled(MetricType::Gauge, "etcd_server_version", "The version of etcd that it is like.",
                {{"server_version", kEtcdVersion}}, 1);
  page.labelled(MetricType::Gauge, "conclave_version", "Its own version.",
                {{"version", kConclaveVersion}}, 1);
}

}  // namespace

std::string metrics_text(const node::Stats& stats, const etcd::CallCounts& calls) {
  Page page;
  add_versions(page, stats);
  add_consensus(page, stats);
  add_peers(page, stats);
  add_disk(page, stats);
  add_store(page, stats);
  add_watches(page, stats);
  add_leases(page, stats);
  add_clients(page, stats);
  add_calls(page, calls);
  add_process(page);
  return page.text();
}

}  // namespace conclave::server
