/** What the shim is built from, by `deno task sources`. */

/** Each file of this folder, and the SHA-256 that it must have where it is fetched. */
export const SOURCES: Readonly<Record<string, string>> = {
  Makefile: "21de3864e4af749d46c383c20b467bb7542da6e0269db23a1247d207d1459bbe",
  "codec.h": "86798e154f21d1f18d51e2e367d1105cf924041b38e236d722dab913ec48fe8a",
  "common.h": "8b34f131a81cb2ebc87da0732b17cf3dea7fb1bb4c3c5e60dafabe9e11e2013d",
  "counts.h": "b7a0f09dffadef7942d5d6e2b2feaf95878901383626dd00b04318c191135a01",
  "files.c": "b62520affb3f7b05fd72d79039fece473dd7b78ff2965e60105c97081d9db154",
  "glibc_compat.c": "9804700ccadfb040cf1a72e28972e05d72f02f873b678dd1354b3bdcd834892c",
  "io.c": "8b0a5561297d6b0ee97e4dbb8b6944cf3b7a841379b01a8eafc66e708585c34d",
  "io.h": "84ecc1e0467f33d23a693b3c586d27ca2cd9f81e83b0188d4cc1edf080ae4351",
  "isal.c": "6070a58e766227b712b5fd51b6b6d2d7384a70e53c10d1b5b950588ea9e881f1",
  "libdeflate.c": "6e2eb97b4a467250ef222a862f551bd29339ead5bd2541d82ac5d6d0be54c5df",
  "noise.h": "7e6bf594cdcd5f3f3a91ccde9171f798be1714b26cbb9a9ef81579f448a9a446",
  "pages.c": "b56befa9cf18e0e459dc89c1a4f7f080487fe9ff058545907dfa4a1ce6317932",
  "qatzip.c": "19e43e084073748413f62c7420b1b52dbdfefb578faa82c74f6636959f114304",
  "qpl.c": "13a0cd26d793d3573662c4585627d1466a80f17d11611afc9400edbb1be34f26",
  "software.c": "a501bef1b209ff2f96db62a78c25b9db6801adb86910aea3561a30818b38899d",
  "zstd.c": "b7dce0d67a158ff38f83b2b83692100f4f3165c748b4c77fc1ad6fb13551ab0b",
};
