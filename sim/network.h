#pragma once
// A simulated network: hosts that connect to each other with byte streams over links that delay,
// hold back, cut, break and lose. Deterministic from its seed and the clock it runs on, which is
// the world's: links do not care what a host believes the time to be.
//
// A stream delivers what one send() call was given as one piece, in order. Between hosts named as
// lossy (the members: their frames leave in one call each and they repeat what matters), pieces may
// also be lost, repeated and reordered, as by a datagram network, which is harder than what TCP
// does to them. All other streams (clients) lose nothing from the middle: they are delayed, stall
// while their link is cut, and break.
//
// Not thread-safe: one loop.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "io/clock.h"
#include "io/network.h"
#include "sim/fault_counts.h"
#include "sim/stream.h"

namespace conclave::sim {

struct LinkFaults {
  // Every piece takes a time between these.
  Duration shortest = microseconds(50);
  Duration longest = microseconds(500);
  // Of a thousand pieces, those that take a time between `longest` and `tail`; in a stream the
  // following ones wait for them.
  std::uint32_t long_tails = 0;
  Duration tail = seconds(2);
  // 0: unlimited. Pieces of all streams of the link leave one after the other.
  std::uint64_t bytes_per_second = 0;

  // Of a million pieces.
  std::uint32_t resets = 0;  // both sides are told of a reset instead
  std::uint32_t breaks = 0;  // a part of the piece arrives, then both sides are told of a reset

  // Of a thousand pieces, between lossy hosts only.
  std::uint32_t lost = 0;
  std::uint32_t repeated = 0;   // arrives again soon
  std::uint32_t replayed = 0;   // arrives again up to `replay_within` later
  std::uint32_t reordered = 0;  // takes up to four times `longest`, not kept in order
  std::uint32_t late = 0;       // takes up to 50 times `longest`, not kept in order
  Duration replay_within = seconds(5);
};

// Pieces, unless said otherwise.
struct NetworkFaultCounts {
  std::uint64_t lost = 0;
  std::uint64_t repeated = 0;
  std::uint64_t replayed = 0;
  std::uint64_t reordered = 0;
  std::uint64_t late = 0;
  std::uint64_t long_tails = 0;
  std::uint64_t queued = 0;     // waited because of a bandwidth limit
  std::uint64_t stopped = 0;    // by a cut
  std::uint64_t too_large = 0;  // stopped by a cut for large pieces
  std::uint64_t broken = 0;     // connections that broke within a piece
  std::uint64_t reset = 0;      // connections
  std::uint64_t cuts = 0;       // links, one way
  std::uint64_t pauses = 0;     // hosts

  static const std::array<CountField<NetworkFaultCounts>, 13> kFields;
  NetworkFaultCounts& operator+=(const NetworkFaultCounts& more) { return add_counts(*this, more); }
};

inline constexpr std::array<CountField<NetworkFaultCounts>, 13> NetworkFaultCounts::kFields{{
    {"pieces lost", &NetworkFaultCounts::lost},
    {"pieces repeated", &NetworkFaultCounts::repeated},
    {"pieces replayed late", &NetworkFaultCounts::replayed},
    {"pieces reordered", &NetworkFaultCounts::reordered},
    {"pieces late", &NetworkFaultCounts::late},
    {"long-tail delays", &NetworkFaultCounts::long_tails},
    {"pieces queued by bandwidth", &NetworkFaultCounts::queued},
    {"pieces stopped by cuts", &NetworkFaultCounts::stopped},
    {"pieces too large to pass", &NetworkFaultCounts::too_large},
    {"connections broken in a piece", &NetworkFaultCounts::broken},
    {"connections reset", &NetworkFaultCounts::reset},
    {"links cut", &NetworkFaultCounts::cuts},
    {"hosts paused", &NetworkFaultCounts::pauses},
}};

class Fabric {
 public:
  Fabric(io::Clock& clock, std::uint64_t seed);
  ~Fabric();

  // A host's own view. Address::host names the host; the reference lives as long as the fabric.
  io::Network& host(const std::string& name);

  // Faults of all pieces sent from now on between lossy hosts. The named hosts join these; they
  // stay lossy, so that set_faults({}) is a calm. All other links get the delays alone.
  void set_faults(const LinkFaults& faults, const std::set<std::string>& lossy_hosts = {});
  // Faults of the links of which one end at least is no lossy host.
  void set_client_faults(const LinkFaults& faults);
  // A link of its own kind, one way, until heal(). Faults of lossy hosts only show between them.
  void set_link_faults(const std::string& from, const std::string& to, const LinkFaults& faults);

  // Pieces from one host to another do not arrive, one way, until heal(); connections stay up, and
  // new ones cannot be made. What lossy hosts send meanwhile is lost; other streams stall.
  void cut(const std::string& from, const std::string& to);
  // The same for pieces of more than `max_bytes`.
  void cut_large(const std::string& from, const std::string& to, std::size_t max_bytes);
  // Ends cuts and links of their own kind; of all links, or of one, one way.
  void heal();
  void heal(const std::string& from, const std::string& to);

  // Told of each piece that is sent, whatever becomes of it.
  std::function<void(const std::string& from, const std::string& to, BytesView piece)> tap;

  // The host's process is stopped, or goes on: meanwhile nothing is told to it. What arrives waits,
  // connections to it are made by its system and accepted later.
  void pause(const std::string& host, bool paused);
  // Every connection of the host breaks; both sides are told.
  void reset(const std::string& host);
  // The host's process has ended: it is told nothing any more, its ports are free, and the other
  // sides of its connections hear of a reset. Its Connections and Listeners may be destroyed later.
  void end_process(const std::string& host);

  const NetworkFaultCounts& fault_counts() const { return counts_; }

 private:
  friend class SimConnection;
  class Host;

  Host& host_named(const std::string& name);
  Link& link(const std::string& from, const std::string& to);
  // What applies to the link's pieces from now on.
  void update(Link& link);
  void update_all();
  std::vector<std::shared_ptr<Stream>> live_streams();
  // Those on this side.
  std::vector<std::shared_ptr<Stream>> streams_of(const std::string& host);
  std::shared_ptr<Stream> add_stream(const HostState& host, Link& link);

  // The way of a piece: past the cuts, in line for the bandwidth, and off.
  void send(const std::shared_ptr<Stream>& from, Bytes piece);
  void queue(const std::shared_ptr<Stream>& from, Bytes piece);
  void transmit(Link& link);
  void leave(Link& link);
  void launch(const std::shared_ptr<Stream>& from, Bytes piece);
  // Loses, repeats or delays a piece; whether that was all that happens to it.
  bool disorder(const std::shared_ptr<Stream>& to, const Bytes& piece, const LinkFaults& faults);
  void arrive_after(Duration delay, const std::shared_ptr<Stream>& to, Bytes piece);
  void arrive_in_order(const std::shared_ptr<Stream>& to, Bytes piece);
  void break_after(Duration delay, const std::shared_ptr<Stream>& from);
  void heal(Link& link);
  // What waited because of cuts sets off.
  void release_blocked();

  // Tells the other side of `from` that the connection has ended, after what is under way.
  void tell_ended(const std::shared_ptr<Stream>& from, Ending ending, const std::string& why);

  Duration draw_delay(const LinkFaults& faults);
  Duration draw_in_order_delay(const LinkFaults& faults);
  bool of_thousand(std::uint32_t rate) { return rate != 0 && rng_.below(1'000) < rate; }
  bool of_million(std::uint32_t rate) { return rate != 0 && rng_.below(1'000'000) < rate; }

  io::Clock& clock_;
  Rng rng_;
  LinkFaults faults_;
  LinkFaults client_faults_;
  std::set<std::string> lossy_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Link>> links_;
  std::vector<std::weak_ptr<Stream>> streams_;
  std::size_t prune_at_ = 64;
  NetworkFaultCounts counts_;
};

}  // namespace conclave::sim
