#pragma once
// A simulated network: hosts that connect to each other with byte streams over links that delay,
// hold back, break and lose. Deterministic from its seed and the clock it runs on.
//
// A stream delivers what one send() call was given as one piece, in order, unless the link loses
// pieces: peers' frames leave in one call each, so a lossy link loses whole frames, as a datagram
// network would. Client streams are never given lossy links by the faults here, since TCP does not
// lose from the middle.
//
// Not thread-safe: one loop.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "io/clock.h"
#include "io/network.h"

namespace conclave::sim {

struct LinkFaults {
  Duration shortest = microseconds(50);
  Duration longest = microseconds(500);
  // Of a thousand pieces between members.
  std::uint32_t lost = 0;
  std::uint32_t repeated = 0;
  std::uint32_t late = 0;  // held back up to 50 times `longest`, overtaken by others
};

class Fabric {
 public:
  Fabric(io::Clock& clock, std::uint64_t seed);
  ~Fabric();

  // A host's own view. Address::host names the host; the reference lives as long as the fabric.
  io::Network& host(const std::string& name);

  // Faults of all pieces sent from now on between the named hosts; other pairs (clients) only have
  // the delays.
  void set_faults(const LinkFaults& faults, std::set<std::string> lossy_hosts);
  // Pieces from one host to another vanish, one way, until healed; connections stay up.
  void cut(const std::string& from, const std::string& to);
  void heal();
  void heal(const std::string& from, const std::string& to);
  // Told of each piece that is sent, whatever becomes of it.
  std::function<void(const std::string& from, const std::string& to, BytesView piece)> tap;
  // Every connection of the host breaks, as when its process is killed.
  void reset(const std::string& host);

 private:
  friend class SimConnection;
  struct Stream;
  class Host;

  void deliver(std::shared_ptr<Stream> from, Bytes piece);
  void schedule(const std::shared_ptr<Stream>& to, Bytes piece, Duration delay);
  bool is_cut(const std::string& from, const std::string& to) const;
  bool is_lossy(const Stream& stream) const;

  io::Clock& clock_;
  Rng rng_;
  LinkFaults faults_;
  std::set<std::string> lossy_;
  std::set<std::pair<std::string, std::string>> cut_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  std::vector<std::weak_ptr<Stream>> streams_;
};

}  // namespace conclave::sim
