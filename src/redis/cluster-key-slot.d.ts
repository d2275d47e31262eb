// The type of a package that has none: ioredis's own function from a key to its slot.
declare module "cluster-key-slot" {
  export default function calculateSlot(key: string): number;
}
