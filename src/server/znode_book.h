#pragma once
// What `conclave import zookeeper` knows of the nodes of both sides: what the target has of each,
// and how far the source's was looked at. A pass looks at every node of the source once; what two
// passes in succession found alike has not changed between them. So if all of a pass is as in the
// one before, what was found is the tree as it was at each moment between the two.
//
// Pure. Takes about 200 bytes and a path for each node.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/zookeeper.h"
#include "base/bytes.h"
#include "conclave.pb.h"

namespace conclave::server {

// Of a node of the source, what changes whenever anything of it does that is copied.
struct SourceStamp {
  api::zk::Zxid czxid = 0;
  api::zk::Zxid mzxid = 0;
  std::int32_t aversion = 0;
  std::int32_t created = 0;

  bool operator==(const SourceStamp&) const = default;
};

// How many children a node has had, which is the number of its next sequential one: a Stat tells
// changes, each child's coming and going, and how many there are. Exact up to 2^31 - 1.
std::int32_t children_created(const api::zk::Stat& stat);

// The ACL of a node came with "x" in place of a password: who asked does not administer it.
bool is_masked(const std::vector<api::zk::Acl>& acl);

// Where a node of the source, in the tree below `chroot` ("/app", or "" for all), has its place in
// the target, below `root`.
std::string target_path(const std::string& path, const std::string& chroot,
                        const std::string& root);

class ZnodeBook {
 public:
  // In a merge counters of the target may be higher, and nodes that were not in the source are its
  // own.
  explicit ZnodeBook(bool merge) : merge_(merge) {}

  // The target has this, whoever wrote it.
  void there(const v1::Znode& node);

  void begin_pass();
  // Whether the source's node has to be read: it is new, or has changed since it was.
  bool wants(const std::string& path, const SourceStamp& stamp);
  // It was read. `stamp`: as of then; nullopt if it changed while it was, so the next pass reads it
  // again. Whether the target has to be told.
  bool read(const v1::Znode& node, const std::optional<SourceStamp>& stamp);
  // It could not be, or not be copied: what the target has of it and below it stays.
  void skip(const std::string& path) { skipped_.insert(path); }
  bool is_skipped(const std::string& path) const;
  // Something changed that is nowhere to be seen, as a node that went just now.
  void disturbed() { ++changes_; }
  // Whether the target has what this one would be below; the top is below none.
  bool has_parent(const std::string& path) const;
  // What the source no longer has, children before parents; the book forgets it. To be asked at the
  // end of a pass. What something else is below stays: it is one of kept() if that is the target's
  // own, and is so from then on. Otherwise the next pass will see, and this one is disturbed.
  std::vector<std::string> take_gone();
  // Of the last take_gone().
  const std::vector<std::string>& kept() const { return kept_; }

  // Of this pass: whatever was not as in the one before.
  std::uint64_t changes() const { return changes_; }
  // Nodes of the source that this pass has seen and the target has.
  std::uint64_t seen() const { return seen_; }

  // The first path of the target that is not as this book says, or is missing; empty: there is
  // none. Then the fingerprint of all that came from the source is in `hash`.
  struct Verdict {
    std::string path;
    std::string how;
    std::uint64_t nodes = 0;
    std::uint64_t others = 0;  // the target's own
    std::string hash;
  };
  // `target`: a book that was told what is there, and nothing else.
  Verdict compare(const ZnodeBook& target) const;
  std::size_t size() const { return entries_.size(); }

 private:
  using Digest = std::array<char, 16>;
  struct Entry {
    Digest digest{};  // of what the target has, but for the counter
    std::int32_t created = 0;
    std::optional<SourceStamp> stamp;
    std::uint32_t pass = 0;  // that saw it last in the source; 0: none
  };

  static Digest digest_of(const v1::Znode& node);
  bool is_same(const Entry& entry, const Digest& digest, std::int32_t created) const;

  bool merge_;
  std::uint32_t pass_ = 0;
  std::uint64_t changes_ = 0;
  std::uint64_t seen_ = 0;
  std::map<std::string, Entry> entries_;
  // What was wanted, and not read, of this pass and of the one before.
  std::map<std::string, SourceStamp> unread_, unread_before_;
  std::set<std::string> skipped_;
  std::vector<std::string> kept_;
};

}  // namespace conclave::server
