#pragma once
// Reads a database file of bbolt, which is etcd's: the keys and values of one of its buckets, in
// order. Nothing is written, and nothing is believed: every number is held against the file's size
// and the page's, no page is read twice, and the tree is only so deep. In memory
// is, at a time, one page of each level.
//
// The format is that of bbolt's page.go, bucket.go and db.go. A file is pages of equal size; the
// first two are meta pages, of which the valid one with the higher transaction id says where the
// tree of buckets begins. Pages are branches or leaves, with an array of elements at the
// beginning that says where keys and values are; large ones go on in the pages behind them. A
// bucket is a value in another bucket's leaf: the number of its own first page, or, if it is small,
// a page right there. Numbers are little-endian (as on all machines that etcd is built for).

#include <cstdint>
#include <functional>
#include <set>

#include "base/bytes.h"
#include "base/result.h"

namespace conclave::server {

class BoltFile {
 public:
  // Reads `size` bytes at `offset`; fewer only at the end of the file.
  using Read = std::function<Result<Bytes>(std::uint64_t offset, std::size_t size)>;
  using Take = std::function<Result<void>(BytesView key, BytesView value)>;

  // `size`: of the file. kCorrupt: no page says that it is one, or it is shorter than it says.
  static Result<BoltFile> open(Read read, std::uint64_t size);

  // Gives `take` each key of a bucket at the top, and its value; buckets inside of it are left out.
  // False: there is no such bucket. kCorrupt says on which page what is wrong, and comes when some
  // keys may have been given already; the failures of `take`.
  Result<bool> read_bucket(BytesView bucket, const Take& take) const;

 private:
  // A bucket's first page, by its number or as it is.
  struct Root {
    std::uint64_t page = 0;
    Bytes in_place;  // if `page` is 0
  };
  struct Walk {
    const Take& take;
    bool of_buckets = false;  // `take` gets them instead of the other keys
    std::set<std::uint64_t> seen = {};
  };
  struct Meta {
    std::uint64_t page_size = 0;
    std::uint64_t root = 0;
    std::uint64_t pages = 0;  // numbers from here on are not in use
    std::uint64_t transaction = 0;
  };

  BoltFile(Read read, Meta meta) : read_(std::move(read)), meta_(meta) {}

  static Result<Meta> read_meta(const Read& read, std::uint64_t offset);
  Result<void> walk(const Root& root, Walk& walk) const;
  Result<void> walk_page(std::uint64_t number, Walk& walk, int depth) const;
  Result<void> walk_elements(std::uint64_t number, BytesView page, Walk& walk, int depth) const;
  Result<Bytes> read_page(std::uint64_t number) const;

  Read read_;
  Meta meta_;
};

}  // namespace conclave::server
