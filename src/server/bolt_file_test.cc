// The reader of bbolt's files, against pages that are put together by hand.

#include "server/bolt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"

namespace conclave::server {
namespace {

using testing::HasSubstr;

constexpr std::size_t kPage = 512;
constexpr std::uint64_t kBranchKind = 1;
constexpr std::uint64_t kLeafKind = 2;
constexpr std::uint64_t kMetaKind = 4;

void write(Bytes& bytes, std::size_t at, std::uint64_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<char>(number >> (8 * i));
}

Bytes eight(std::uint64_t number) {
  Bytes bytes(8, '\0');
  write(bytes, 0, number, 8);
  return bytes;
}

struct Element {
  Bytes key, value;
  bool is_bucket = false;
};

// A page with these elements, as long as it has to be.
Bytes leaf(std::uint64_t number, const std::vector<Element>& elements) {
  Bytes page(16 + 16 * elements.size(), '\0');
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const std::size_t at = 16 + 16 * i;
    write(page, at, elements[i].is_bucket ? 1 : 0, 4);
    write(page, at + 4, page.size() - at, 4);
    write(page, at + 8, elements[i].key.size(), 4);
    write(page, at + 12, elements[i].value.size(), 4);
    page += elements[i].key + elements[i].value;
  }
  write(page, 0, number, 8);
  write(page, 8, kLeafKind, 2);
  write(page, 10, elements.size(), 2);
  return page;
}

Element bucket(const Bytes& name, std::uint64_t root) {
  return {name, eight(root) + eight(0), true};
}

Element bucket_in_place(const Bytes& name, const std::vector<Element>& elements) {
  return {name, eight(0) + eight(0) + leaf(0, elements), true};
}

Bytes branch(std::uint64_t number, const std::vector<std::uint64_t>& below) {
  Bytes page(16 + 16 * below.size(), '\0');
  write(page, 0, number, 8);
  write(page, 8, kBranchKind, 2);
  write(page, 10, below.size(), 2);
  for (std::size_t i = 0; i < below.size(); ++i) write(page, 16 + 16 * i + 8, below[i], 8);
  return page;
}

class BoltFileTest : public testing::Test {
 protected:
  // At its number, over as many pages as it takes.
  void place(Bytes page) {
    std::uint64_t number = 0;
    for (std::size_t i = 8; i-- > 0;) {
      number = number << 8 | static_cast<unsigned char>(page[i]);
    }
    const std::size_t pages = (page.size() + kPage - 1) / kPage;
    write(page, 12, pages - 1, 4);
    page.resize(pages * kPage, '\0');
    file_.resize(std::max(file_.size(), number * kPage + page.size()), '\0');
    file_.replace(number * kPage, page.size(), page);
  }

  // After all others, since it says how many pages there are.
  void place_meta(std::uint64_t number, std::uint64_t root, std::uint64_t transaction) {
    Bytes page(16, '\0');
    write(page, 0, number, 8);
    write(page, 8, kMetaKind, 2);
    Bytes meta(64, '\0');
    write(meta, 0, 0xED0CDAED, 4);
    write(meta, 4, 2, 4);
    write(meta, 8, kPage, 4);
    write(meta, 16, root, 8);
    write(meta, 40, std::max<std::size_t>(file_.size() / kPage, 2), 8);
    write(meta, 48, transaction, 8);
    std::uint64_t hash = 14695981039346656037U;  // FNV-1a
    for (std::size_t i = 0; i < 56; ++i) {
      hash ^= static_cast<unsigned char>(meta[i]);
      hash *= 1099511628211U;
    }
    write(meta, 56, hash, 8);
    place(page + meta);
  }

  void finish(std::uint64_t root) {
    place_meta(0, root, 7);
    place_meta(1, root, 6);
  }

  Result<BoltFile> open() {
    return BoltFile::open(
        [this](std::uint64_t offset, std::size_t size) -> Result<Bytes> {
          largest_ = std::max(largest_, size);
          return offset >= file_.size() ? Bytes() : file_.substr(offset, size);
        },
        file_.size());
  }

  // "a=1 b=2", "none", or what is wrong.
  std::string bucket_as_text(const Bytes& name) {
    const auto file = open();
    if (!file) return file.error().message;
    std::string text;
    const auto found = file->read_bucket(name, [&](BytesView key, BytesView value) -> Result<void> {
      text += (text.empty() ? "" : " ") + Bytes(key) + "=" + Bytes(value);
      return {};
    });
    if (found) return *found ? text : "none";
    EXPECT_EQ(found.error().code, ErrorCode::kCorrupt);
    return found.error().message;
  }

  // The number at a place in a page is changed.
  void spoil(std::uint64_t page, std::size_t at, std::uint64_t number, std::size_t size) {
    write(file_, page * kPage + at, number, size);
  }

  Bytes file_;
  std::size_t largest_ = 0;  // read at once
};

TEST_F(BoltFileTest, BucketsOfTheirOwnPagesAndInPlace) {
  place(leaf(2, {bucket("big", 3),
                 bucket_in_place("empty", {}),
                 bucket_in_place("small", {{"x", "y"}, {"z", ""}}),
                 {"no bucket", "v"}}));
  place(leaf(3, {{"a", "1"}, bucket("inner", 9), {"b", Bytes("\0\xff", 2)}}));
  finish(2);
  EXPECT_EQ(bucket_as_text("big"), Bytes("a=1 b=\0\xff", 8));
  EXPECT_EQ(bucket_as_text("small"), "x=y z=");
  EXPECT_EQ(bucket_as_text("empty"), "");
  EXPECT_EQ(bucket_as_text("other"), "none");
  EXPECT_EQ(bucket_as_text("no bucket"), "none");
  EXPECT_EQ(bucket_as_text("inner"), "none");
}

TEST_F(BoltFileTest, ATreeWithPagesThatGoOn) {
  const Bytes large(3 * kPage, 'v');
  place(branch(2, {3}));
  place(leaf(3, {bucket("b", 4)}));
  place(branch(4, {5, 6}));
  place(branch(5, {7, 8}));
  place(leaf(6, {{"d", "4"}}));
  place(leaf(7, {{"a", "1"}}));
  place(leaf(8, {{"b", "2"}, {"c", large}}));
  finish(2);
  EXPECT_EQ(bucket_as_text("b"), "a=1 b=2 c=" + large + " d=4");
  EXPECT_EQ(largest_, 4 * kPage);
}

TEST_F(BoltFileTest, TheNewerMetaPageThatIsWhole) {
  place(leaf(2, {bucket_in_place("b", {{"k", "old"}})}));
  place(leaf(3, {bucket_in_place("b", {{"k", "new"}})}));
  place_meta(0, 2, 8);
  place_meta(1, 3, 9);
  EXPECT_EQ(bucket_as_text("b"), "k=new");
  place_meta(0, 2, 10);
  EXPECT_EQ(bucket_as_text("b"), "k=old");
  spoil(0, 16 + 48, 99, 8);  // the checksum tells
  EXPECT_EQ(bucket_as_text("b"), "k=new");
  place_meta(0, 2, 10);
  spoil(1, 16, 0, 4);
  EXPECT_EQ(bucket_as_text("b"), "k=old");
  spoil(0, 8, 2, 2);
  EXPECT_EQ(bucket_as_text("b"), "it is not a database of etcd, or it is damaged");
}

TEST_F(BoltFileTest, WhatIsNone) {
  EXPECT_EQ(bucket_as_text("b"), "it is not a database of etcd, or it is damaged");
  file_ = Bytes(100'000, 'x');
  EXPECT_EQ(bucket_as_text("b"), "it is not a database of etcd, or it is damaged");
  file_.clear();
  place(leaf(2, {bucket_in_place("b", {{"k", "v"}})}));
  finish(2);
  file_.resize(file_.size() - 1);
  EXPECT_EQ(bucket_as_text("b"), "of its 3 pages only 1535 bytes are there");
}

TEST_F(BoltFileTest, DamageIsNamedWithItsPage) {
  const auto spoiled = [&](std::uint64_t page, std::size_t at, std::uint64_t number,
                           std::size_t size) {
    file_.clear();
    place(leaf(2, {bucket("b", 3)}));
    place(branch(3, {4, 5}));
    place(leaf(4, {{"k", "v"}}));
    place(leaf(5, {{"l", "w"}}));
    finish(2);
    EXPECT_EQ(bucket_as_text("b"), "k=v l=w");
    spoil(page, at, number, size);
    return bucket_as_text("b");
  };
  EXPECT_EQ(spoiled(3, 16 + 8, 6, 8), "page 6: there is none");
  EXPECT_EQ(spoiled(3, 16 + 8, 1, 8), "page 1: there is none");
  EXPECT_EQ(spoiled(3, 16 + 8, ~0ULL, 8), "page 18446744073709551615: there is none");
  EXPECT_EQ(spoiled(3, 16 + 8, 5, 8), "page 5: it is in the tree twice");
  EXPECT_EQ(spoiled(3, 16 + 8, 3, 8), "page 3: it is in the tree twice");
  EXPECT_EQ(spoiled(4, 0, 7, 8), "page 4: it is another one");
  EXPECT_EQ(spoiled(4, 8, 16, 2), "page 4: it is neither branch nor leaf");
  EXPECT_EQ(spoiled(4, 10, 32, 2), "page 4: 32 elements do not fit");
  EXPECT_EQ(spoiled(4, 12, 2, 4), "page 4: it goes on for 2 pages");
  EXPECT_EQ(spoiled(4, 12, 0xffffffff, 4), "page 4: it goes on for 4294967295 pages");
  for (const std::size_t at : {20U, 24U, 28U}) {  // the place, and both sizes
    EXPECT_EQ(spoiled(4, at, 0xffffffff, 4), "page 4: element 0 is not all there");
    EXPECT_EQ(spoiled(4, at, kPage, 4), "page 4: element 0 is not all there");
  }
  EXPECT_EQ(spoiled(2, 16 + 16 + 1, 0, 8), "page 0: it is cut short");  // the bucket's page number
  EXPECT_EQ(spoiled(2, 28, 15, 4), "the bucket b is cut short");
}

TEST_F(BoltFileTest, AChainIsFollowedOnlySoFar) {
  constexpr std::uint64_t kEnd = 200;
  place(leaf(2, {bucket("b", 3)}));
  for (std::uint64_t page = 3; page < kEnd; ++page) place(branch(page, {page + 1}));
  place(leaf(kEnd, {{"k", "v"}}));
  finish(2);
  EXPECT_THAT(bucket_as_text("b"), HasSubstr("it is too deep in the tree"));
}

TEST_F(BoltFileTest, PagesDoNotOverlap) {
  place(leaf(2, {bucket("b", 3)}));
  place(branch(3, {4, 5}));
  place(leaf(4, {{"k", Bytes(700, 'v')}}));  // goes on in page 5
  finish(2);
  EXPECT_THAT(bucket_as_text("b"), HasSubstr("page 5: it is in the tree twice"));
}

TEST_F(BoltFileTest, AnErrorOfReadingIsHandedOn) {
  const auto file = BoltFile::open(
      [](std::uint64_t, std::size_t) -> Result<Bytes> { return fail(ErrorCode::kIo, "broken"); },
      4096);
  EXPECT_FALSE(file);
  place(leaf(2, {bucket_in_place("b", {{"k", "v"}})}));
  finish(2);
  const auto refused = open()->read_bucket(
      "b", [](BytesView, BytesView) -> Result<void> { return fail(ErrorCode::kInvalid, "no"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
}

// Whatever is changed, it ends, and reads no more than there is.
TEST_F(BoltFileTest, AnyByteMayBeWrong) {
  place(leaf(2, {bucket("b", 3), bucket_in_place("c", {{"x", "y"}, {"z", "w"}})}));
  place(branch(3, {4, 5}));
  place(leaf(4, {{"k", "v"}, {"m", Bytes(700, 'v')}}));
  place(leaf(6, {{"l", "w"}}));
  place(branch(5, {6}));
  finish(2);
  const Bytes whole = file_;
  Rng random(1);
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    file_ = whole;
    const std::uint64_t changes = 1 + random.below(3);
    for (std::uint64_t i = 0; i < changes; ++i) {
      // Most of what counts is at the beginning of a page; the meta pages have checksums.
      const std::uint64_t page = 2 + random.below(file_.size() / kPage - 2);
      file_[page * kPage + random.below(64)] = static_cast<char>(random.below(256));
    }
    if (random.below(10) == 0) file_.resize(random.below(file_.size()));
    for (const char* name : {"b", "c"}) {
      const auto file = open();
      if (!file) continue;
      std::size_t bytes = 0;
      const auto found =
          file->read_bucket(name, [&](BytesView key, BytesView value) -> Result<void> {
            bytes += key.size() + value.size();
            return {};
          });
      if (found && *found) ++read;
      ASSERT_LE(bytes, 100 * file_.size());
    }
  }
  EXPECT_GT(read, 1'000);
  EXPECT_LE(largest_, whole.size());
}

}  // namespace
}  // namespace conclave::server
