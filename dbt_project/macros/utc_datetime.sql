{# A var whose value is an instant in ISO 8601, as a UTC datetime. Without an offset it is in
   UTC. #}
{% macro utc_datetime(name, value) -%}
    {%- set day = '[0-9]{4}-[0-9]{2}-[0-9]{2}' -%}
    {%- set clock = '[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?' -%}
    {%- set offset = '(Z|[+-][0-9]{2}:?[0-9]{2})?' -%}
    {%- set pattern = day ~ '([T ]' ~ clock ~ offset ~ ')?$' -%}
    {%- if not modules.re.match(pattern, value | string) -%}
        {%- do exceptions.raise_compiler_error(
            'The var ' ~ name ~ ' is ' ~ value ~ ': give an instant such as 2026-10-24T22:00:00Z.'
        ) -%}
    {%- endif -%}
    {#- dbt v2 cannot parse the Z. -#}
    {%- set text = value | string | replace('Z', '+00:00') -%}
    {%- set moment = modules.datetime.datetime.fromisoformat(text) -%}
    {%- if moment.tzinfo is none -%}
        {%- do return(moment.replace(tzinfo=modules.pytz.utc)) -%}
    {%- endif -%}
    {%- do return(moment.astimezone(modules.pytz.utc)) -%}
{%- endmacro %}
