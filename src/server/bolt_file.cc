#include "server/bolt_file.h"

#include <fmt/core.h>

#include <optional>
#include <utility>

#include "base/limits.h"

namespace conclave::server {

namespace {

// A page begins with its number (8 bytes), its kind and the count of its elements (2 each), and how
// many pages it takes beside the first (4).
constexpr std::size_t kPageHeaderBytes = 16;
constexpr std::size_t kElementBytes = 16;
constexpr std::uint64_t kBranch = 0x01;
constexpr std::uint64_t kLeaf = 0x02;
constexpr std::uint64_t kMeta = 0x04;
constexpr std::uint64_t kIsBucket = 0x01;  // of a leaf's element
constexpr std::size_t kBucketHeaderBytes = 16;

// magic, version, page size, flags (4 bytes each); root bucket (16); free list, pages, transaction
// and checksum (8 each).
constexpr std::size_t kMetaBytes = 64;
constexpr std::uint64_t kMagic = 0xED0CDAED;
constexpr std::uint64_t kVersion = 2;

constexpr std::uint64_t kSmallestPage = 512;
constexpr std::uint64_t kLargestPage = 64 * limits::kKiB;
constexpr std::uint64_t kMostPageBytes = 64 * limits::kMiB;  // with those that it goes on in
constexpr int kDeepest = 64;

// REQUIRES: there are so many bytes.
std::uint64_t number_at(BytesView bytes, std::size_t at, std::size_t size) {
  std::uint64_t number = 0;
  for (std::size_t i = size; i-- > 0;) {
    number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return number;
}

std::uint64_t fnv1a_64(BytesView bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// The part of a page that is `size` bytes, `offset` behind `base`; nullopt if not all of it is
// there.
std::optional<BytesView> part(BytesView page, std::uint64_t base, std::uint64_t offset,
                              std::uint64_t size) {
  if (offset > page.size() - base || size > page.size() - base - offset) return std::nullopt;
  return page.substr(base + offset, size);
}

Failure damaged(std::uint64_t page, std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("page {}: {}", page, what));
}

}  // namespace

Result<BoltFile::Meta> BoltFile::read_meta(const Read& read, std::uint64_t offset) {
  const Bytes page = TRY(read(offset, kPageHeaderBytes + kMetaBytes));
  if (page.size() != kPageHeaderBytes + kMetaBytes || number_at(page, 8, 2) != kMeta) {
    return fail(ErrorCode::kCorrupt, "no meta page");
  }
  const BytesView meta = BytesView(page).substr(kPageHeaderBytes);
  if (number_at(meta, 0, 4) != kMagic || number_at(meta, 4, 4) != kVersion ||
      number_at(meta, 56, 8) != fnv1a_64(meta.substr(0, 56))) {
    return fail(ErrorCode::kCorrupt, "the meta page is damaged");
  }
  const Meta found{.page_size = number_at(meta, 8, 4),
                   .root = number_at(meta, 16, 8),
                   .pages = number_at(meta, 40, 8),
                   .transaction = number_at(meta, 48, 8)};
  const bool is_power_of_two = (found.page_size & (found.page_size - 1)) == 0;
  if (found.page_size < kSmallestPage || found.page_size > kLargestPage || !is_power_of_two) {
    return fail(ErrorCode::kCorrupt, fmt::format("pages of {} bytes", found.page_size));
  }
  return found;
}

Result<BoltFile> BoltFile::open(Read read, std::uint64_t size) {
  std::optional<Meta> newest;
  // If the first meta page is damaged, the second is where a page of any size would end.
  std::uint64_t offset = 0;
  while (offset <= kLargestPage) {
    const auto meta = read_meta(read, offset);
    const bool fits = meta && (offset == 0 || offset == meta->page_size);
    if (fits && (!newest || newest->transaction < meta->transaction)) newest = *meta;
    if (offset != 0 && newest) break;
    offset = offset != 0 ? offset * 2 : newest ? newest->page_size : kSmallestPage;
  }
  if (!newest) return fail(ErrorCode::kCorrupt, "it is not a database of etcd, or it is damaged");
  if (newest->pages > size / newest->page_size) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("of its {} pages only {} bytes are there", newest->pages, size));
  }
  return BoltFile(std::move(read), *newest);
}

Result<bool> BoltFile::read_bucket(BytesView bucket, const Take& take) const {
  std::optional<Root> found;
  const Take find = [&](BytesView name, BytesView value) -> Result<void> {
    if (name != bucket) return {};
    if (value.size() < kBucketHeaderBytes) {
      return fail(ErrorCode::kCorrupt, fmt::format("the bucket {} is cut short", bucket));
    }
    found = Root{.page = number_at(value, 0, 8), .in_place = {}};
    if (found->page == 0) found->in_place = value.substr(kBucketHeaderBytes);
    return {};
  };
  Walk of_buckets{.take = find, .of_buckets = true};
  TRY(walk({.page = meta_.root, .in_place = {}}, of_buckets));
  if (!found) return false;
  Walk of_keys{.take = take};
  TRY(walk(*found, of_keys));
  return true;
}

Result<void> BoltFile::walk(const Root& root, Walk& walk) const {
  if (root.page != 0) return walk_page(root.page, walk, 0);
  if (root.in_place.size() < kPageHeaderBytes) return damaged(0, "it is cut short");
  if (number_at(root.in_place, 8, 2) != kLeaf) return damaged(0, "it is no leaf");
  return walk_elements(0, root.in_place, walk, 0);
}

Result<Bytes> BoltFile::read_page(std::uint64_t number) const {
  // The first two are the meta pages.
  if (number < 2 || number >= meta_.pages) return damaged(number, "there is none");
  const std::uint64_t offset = number * meta_.page_size;
  Bytes page = TRY(read_(offset, meta_.page_size));
  if (page.size() != meta_.page_size) return damaged(number, "it is cut short");
  if (number_at(page, 0, 8) != number) return damaged(number, "it is another one");
  const std::uint64_t more = number_at(page, 12, 4);
  if (more == 0) return page;
  const std::uint64_t size = (1 + more) * meta_.page_size;
  if (more >= meta_.pages - number || size > kMostPageBytes) {
    return damaged(number, fmt::format("it goes on for {} pages", more));
  }
  page = TRY(read_(offset, size));
  if (page.size() != size) return damaged(number, "it is cut short");
  return page;
}

Result<void> BoltFile::walk_page(std::uint64_t number, Walk& walk, int depth) const {
  if (depth > kDeepest) return damaged(number, "it is too deep in the tree");
  if (!walk.seen.insert(number).second) return damaged(number, "it is in the tree twice");
  const Bytes page = TRY(read_page(number));
  for (std::uint64_t more = page.size() / meta_.page_size; more > 1; --more) {
    if (!walk.seen.insert(number + more - 1).second) {
      return damaged(number + more - 1, "it is in the tree twice");
    }
  }
  return walk_elements(number, page, walk, depth);
}

Result<void> BoltFile::walk_elements(std::uint64_t number, BytesView page, Walk& walk,
                                     int depth) const {
  const std::uint64_t kind = number_at(page, 8, 2);
  const std::size_t count = number_at(page, 10, 2);
  if (kind != kBranch && kind != kLeaf) return damaged(number, "it is neither branch nor leaf");
  if (count > (page.size() - kPageHeaderBytes) / kElementBytes) {
    return damaged(number, fmt::format("{} elements do not fit", count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = kPageHeaderBytes + i * kElementBytes;
    if (kind == kBranch) {  // place and size of the key (4 bytes each), page (8)
      TRY(walk_page(number_at(page, at + 8, 8), walk, depth + 1));
      continue;
    }
    // flags, place, sizes of key and value: 4 bytes each. The place is counted from here.
    const std::uint64_t place = number_at(page, at + 4, 4);
    const std::uint64_t key_size = number_at(page, at + 8, 4);
    const auto key = part(page, at, place, key_size);
    const auto value = part(page, at, place + key_size, number_at(page, at + 12, 4));
    if (!key || !value) return damaged(number, fmt::format("element {} is not all there", i));
    const bool is_bucket = (number_at(page, at, 4) & kIsBucket) != 0;
    if (is_bucket == walk.of_buckets) TRY(walk.take(*key, *value));
  }
  return {};
}

}  // namespace conclave::server
