import { type FactSchema, kinds, nameOf, upcasts } from "@millrace/schemas"
import { SchemaAST } from "effect"

/** The keys of one record, in the order in which its schema writes them. */
export type Shape = ReadonlyArray<string>

/** Two records share a dictionary entry when they have the same keys in the same order. */
export const shapeText = (shape: Shape): string => shape.join(",")

/**
 * Every record shape that a fact's body is made of: the body first, then the records inside, each with
 * all of its optional keys and with none. Fields with a decoding default are always written, so they
 * count as required here.
 */
export const shapesOf = (schema: FactSchema): ReadonlyArray<Shape> => {
  const shapes: Array<Shape> = []
  const walk = (ast: SchemaAST.AST, leave?: string): void => {
    if (SchemaAST.isObjects(ast)) {
      const fields = ast.propertySignatures.filter(({ name }) => name !== leave)
      if (fields.length > 0) {
        shapes.push(fields.map(({ name }) => String(name)))
        shapes.push(fields.filter(({ type }) => type.context?.isOptional !== true).map(({ name }) => String(name)))
      }
      for (const { type } of fields) walk(type)
      for (const { type } of ast.indexSignatures) walk(type)
    } else if (SchemaAST.isArrays(ast)) {
      for (const type of [...ast.elements, ...ast.rest]) walk(type)
    } else if (SchemaAST.isUnion(ast)) {
      for (const type of ast.types) walk(type)
    }
  }
  walk(SchemaAST.toType(schema.ast), "_tag")
  return distinct(shapes.filter((shape) => shape.length > 0))
}

/** Every shape of every fact that can be written today. */
export const allShapes = (): ReadonlyArray<Shape> =>
  distinct(kinds.flatMap(({ facts }) => facts.flatMap(shapesOf)))

/** Shapes that today's facts have and a dictionary does not name. */
export const missingShapes = (dictionary: ReadonlyArray<Shape>): ReadonlyArray<Shape> => {
  const named = new Set(dictionary.map(shapeText))
  return allShapes().filter((shape) => !named.has(shapeText(shape)))
}

/** Every fact with each of its versions, oldest first. */
export const versionedFacts = (): ReadonlyArray<{ readonly name: string; readonly version: number; readonly schema: FactSchema }> => {
  const seen = new Map<string, ReadonlyArray<{ name: string; version: number; schema: FactSchema }>>()
  for (const { facts } of kinds) {
    for (const schema of facts) {
      const name = nameOf(schema)
      const past = (upcasts[name] ?? []).map(({ schema }) => schema)
      seen.set(name, [...past, schema].map((schema, index) => ({ name, version: index + 1, schema })))
    }
  }
  return [...seen.values()].flat()
}

const distinct = (shapes: ReadonlyArray<Shape>): ReadonlyArray<Shape> =>
  [...new Map(shapes.map((shape) => [shapeText(shape), shape])).values()]
